"""Representation PID: pooled states by hand, and models without image states."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, miniature
from fusionscope.pid import GaussianPID
from fusionscope.probe.experimental.representation import representation_pid


def test_it_is_the_gaussian_pid_of_pooled_states(llava, make_task):
    task = make_task(n_images=30, n_questions=4, candidates=("A", "B", "C"))
    found = representation_pid(llava, task, components=3)
    assert [one.layer for one in found] == [0, 1, 2, 3]
    sight, text, decision = [], [], []
    tokens = [llava.tokenizer.convert_tokens_to_ids(f"Ġ{letter}") for letter in "ABC"]
    for a, b in task.pairs.tolist():
        rendered = llava.adapter.chat.render(task.questions[b].text)
        inputs = llava.processor(images=task.images[a], text=rendered, return_tensors="pt")
        with torch.no_grad():
            out = llava.model(**inputs, output_hidden_states=True)
        here = (inputs["input_ids"][0] == llava.model.config.image_token_id).nonzero().flatten()
        state = out.hidden_states[1][0].double()
        sight.append(state[here].mean(0))
        text.append(state[here[-1] + 1 :].mean(0))
        logprob = out.logits[0, -1].double().log_softmax(-1)[tokens]
        decision.append((logprob - logprob.mean())[:-1])
    by_hand = GaussianPID(components_vision=3, components_language=3, bias_correction=True).estimate(
        torch.stack(sight), torch.stack(text), torch.stack(decision)
    )
    for name, value in found[1].pid.atoms().items():
        assert float(value) == pytest.approx(float(by_hand.atoms()[name]), abs=1e-3)
    assert found[1].n == 120


def test_cross_attention_has_no_image_states(make_task):
    with pytest.raises(InputError, match="cross-attention"):
        representation_pid(LVLM.wrap(*miniature("mllama")), make_task())
