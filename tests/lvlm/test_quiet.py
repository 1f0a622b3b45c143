"""A probe of a model that is compiled or adapted by somebody else."""

import peft
import pytest
import torch
from torch._dynamo.utils import counters

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, miniature


@pytest.mark.parametrize("whole", [False, True])
def test_nothing_is_compiled_anew_for_a_probe(task, answers_of, whole):
    """The compiler's limit of recompilations and its guesses about shapes belong to the training."""
    expected = answers_of(LVLM.wrap(*miniature("llava")), task)
    model, processor = miniature("llava")
    torch._dynamo.reset()
    counters.clear()
    for layer in model.model.language_model.layers:
        layer.compile(backend="eager")
    lvlm = LVLM.wrap(torch.compile(model, backend="eager") if whole else model, processor)
    with torch.no_grad():
        model(input_ids=torch.arange(9)[None])
    compiled = counters["stats"]["unique_graphs"]
    for _ in range(2):
        assert torch.equal(answers_of(lvlm, task), expected)
    assert counters["stats"]["unique_graphs"] == compiled > 0
    model.train()(input_ids=torch.arange(9)[None])
    assert counters["stats"]["unique_graphs"] > compiled, "compiled again outside of a probe"
    torch._dynamo.reset()


def test_learned_prompts_are_refused():
    """They enter in peft's forward pass; a probe would see the base model and call it the adapted one."""
    model, processor = miniature("llava")
    settings = {"num_layers": 3, "token_dim": 48, "num_attention_heads": 4, "num_transformer_submodules": 1}
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, **settings)
    with pytest.raises(InputError, match=r"PROMPT_TUNING[\s\S]*would see the base model[\s\S]*get_base_model"):
        LVLM.wrap(peft.get_peft_model(model, config), processor)


def test_the_model_inside_ddp_is_found(tmp_path):
    model, processor = miniature("llava")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
    finally:
        torch.distributed.destroy_process_group()
    assert LVLM.wrap(wrapped, processor).adapter.model is model
