"""Every family: the probe against the model's own forward pass on inputs as its processor makes them."""

import json
from types import SimpleNamespace

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, ComposedProcessor, FeatureCache, known_model_types, load_processor, tiny
from fusionscope.probe import Execution, ProbeSpec, posteriors, probe
from fusionscope.probe.engine.runner import expanded

ANSWERS = ("yes", "no")


@pytest.fixture(scope="module", params=tiny.names())
def family(request, task):
    lvlm = LVLM.wrap(*tiny.build(request.param))
    return SimpleNamespace(name=request.param, lvlm=lvlm, found=posteriors(lvlm, task))


def own_inputs(lvlm, name, image, text):
    """Inputs of the model's forward pass, made by its processor where that can be built without torchvision."""
    rendered = lvlm.adapter.chat.render(text)
    if not isinstance(lvlm.processor, ComposedProcessor):
        opened = rendered + lvlm.adapter.chat.joint(ANSWERS[0])
        special = not opened.startswith(lvlm.tokenizer.bos_token)
        return dict(lvlm.processor(images=image, text=opened, add_special_tokens=special, return_tensors="pt"))
    pixels = lvlm.adapter.process([image])[0]
    features = lvlm.look([image])[0]
    ids = torch.tensor([expanded(lvlm.prompt(text, ANSWERS).ids, lvlm.adapter.expand(features))])
    here = ids == lvlm.adapter.image_token_id
    extra = {
        "gemma3": {"token_type_ids": here.int()},
        "paligemma": {"token_type_ids": torch.zeros_like(ids)},
        **{key: {"mm_token_type_ids": here.int()} for key in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")},
    }.get(name, {})
    if name == "instructblip":
        words = lvlm.processor.qformer_tokenizer(rendered.removeprefix("<image>"), return_tensors="pt")
        extra = {"qformer_input_ids": words["input_ids"], "qformer_attention_mask": words["attention_mask"]}
    unread = {"num_patches", "num_crops", "rows", "cols", "columns"}
    if name == "fuyu":
        pixels = {"pixel_values": pixels["pixel_values"][None]}
    return {"input_ids": ids, **extra, **{k: v for k, v in pixels.items() if k not in unread}}


def test_there_is_a_miniature_for_every_adapter():
    assert tiny.names() == known_model_types()


def test_the_last_layer_is_the_models_own_answer(family, task):
    lvlm = family.lvlm
    for a, image in enumerate(task.images):
        for b, question in enumerate(task.questions):
            prompt = lvlm.prompt(question.text, ANSWERS)
            tokens = [tail[0] for tail in prompt.candidates]
            if len(prompt.candidates[0]) > 1 or len(prompt.candidates[1]) > 1:
                pytest.fail(f"{family.name}: candidates {prompt.candidates} are not single tokens")
            with torch.no_grad():
                logits = lvlm.model(**own_inputs(lvlm, family.name, image, question.text)).logits[0, -1]
            wanted = logits[tokens].double().softmax(-1)
            torch.testing.assert_close(family.found.conditionals[-1, a, b], wanted, atol=1e-5, rtol=0)
            mass = logits.double().softmax(-1)[tokens].sum()
            torch.testing.assert_close(family.found.mass[-1, a, b], mass, atol=1e-5, rtol=0)


def test_it_sees_the_image(family):
    p = family.found.conditionals[-1]
    assert (p[0] - p[2]).abs().max() > 1e-4, "same size, other pixels"
    assert (p[:, 0] - p[:, 1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 1}, {"batch_size": 2}, {"batch_size": 7, "padding_side": "left"}, {"share_prefix": False},
     {"share_prefix": False, "padding_side": "left"}, {"feature_cache": True}],
    ids=str,
)  # fmt: skip
def test_how_it_is_run_changes_nothing(family, task, settings):
    if "feature_cache" in settings:
        settings = {"feature_cache": FeatureCache()}
        posteriors(family.lvlm, task, execution=Execution(**settings))
    other = posteriors(family.lvlm, task, execution=Execution(**settings))
    torch.testing.assert_close(other.conditionals, family.found.conditionals, atol=1e-5, rtol=0)
    torch.testing.assert_close(other.mass, family.found.mass, atol=1e-5, rtol=0)
    if "feature_cache" in settings:
        assert settings["feature_cache"].hits == 3


def test_whole_candidates_agree_with_single_tokens(family, task):
    other = posteriors(family.lvlm, task, ProbeSpec(scoring="sequence", layers="last"))
    torch.testing.assert_close(other.conditionals[0], family.found.conditionals[-1], atol=1e-5, rtol=0)


def test_the_model_is_left_as_found(family, task):
    model = family.lvlm.model
    before = (
        {name: value.clone() for name, value in model.state_dict().items()},
        [(m.training, sorted(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        getattr(model.model, "rope_deltas", None) if hasattr(model, "model") else None,
        torch.get_rng_state(),
    )
    results = probe(family.lvlm, task, ProbeSpec(layers="last", standard_errors=False))
    assert results[0].pid.converged
    assert all(torch.equal(value, before[0][name]) for name, value in model.state_dict().items())
    assert [
        (m.training, sorted(vars(m)), len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()
    ] == before[1]
    if before[2] is not None:
        assert torch.equal(model.model.rope_deltas, before[2])
    assert torch.equal(torch.get_rng_state(), before[3])


@pytest.mark.parametrize("mask", ["noise", "remove"])
def test_masking_works_or_says_why_not(family, task, mask):
    if family.name == "instructblip" and mask == "noise":
        with pytest.raises(InputError, match=r"depend on the question"):
            posteriors(family.lvlm, task, ProbeSpec(design="masked", layers="last", design_options={"mask": mask}))
        return
    found = posteriors(family.lvlm, task, ProbeSpec(design="masked", layers="last", design_options={"mask": mask}))
    torch.testing.assert_close(found.joint[0], family.found.conditionals[-1].flatten(0, 1), atol=1e-5, rtol=0)
    assert (found.joint - found.language).abs().max() > 1e-4
    if mask == "remove":
        assert (found.language[0, 0] - found.language[0, 2]).abs().max() < 1e-6, "no image left"


def test_a_saved_model_loads_and_answers_the_same(family, task, tmp_path):
    family.lvlm.model.save_pretrained(tmp_path)
    family.lvlm.processor.save_pretrained(tmp_path)
    again = posteriors(LVLM.from_pretrained(str(tmp_path)), task, ProbeSpec(layers="last"))
    torch.testing.assert_close(again.conditionals[0], family.found.conditionals[-1], atol=1e-5, rtol=0)


def test_a_processor_whose_video_part_needs_torchvision_is_composed(task, tmp_path):
    """As the published Qwen2.5-VL directories are: the class named in them lists a video processor."""
    lvlm = LVLM.wrap(*tiny.build("qwen2_5_vl"))
    lvlm.model.save_pretrained(tmp_path)
    lvlm.processor.save_pretrained(tmp_path)
    for file, changes in (
        ("preprocessor_config.json", {"image_processor_type": "Qwen2VLImageProcessor"}),
        ("tokenizer_config.json", {}),
    ):
        settings = json.loads((tmp_path / file).read_text())
        settings |= changes | {"processor_class": "Qwen2_5_VLProcessor"}
        (tmp_path / file).write_text(json.dumps(settings))
    again = LVLM.from_pretrained(str(tmp_path))
    assert again.tokenizer.chat_template == lvlm.tokenizer.chat_template
    torch.testing.assert_close(
        posteriors(again, task, ProbeSpec(layers="last")).conditionals,
        posteriors(lvlm, task, ProbeSpec(layers="last")).conditionals,
        atol=1e-5,
        rtol=0,
    )
    with pytest.raises(InputError, match=r"does not load[\s\S]*in parts[\s\S]*pass processor="):
        load_processor(str(tmp_path / "nothing"))
