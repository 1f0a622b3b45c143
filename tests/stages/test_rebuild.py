"""Any stage, from inside the package or outside, is built again from its checkpoint alone."""

import copy
import pickle
import sys
from pathlib import Path

import pytest
import torch

from fusionscope.errors import ConfigError, DataError
from fusionscope.sandbox import UnimodalPretraining
from fusionscope.stages import (
    AlignmentPretraining,
    LoraSettings,
    PartConfig,
    QuantizationSettings,
    VisualInstructionTuning,
)
from fusionscope.stages.checkpoint import KEY, read
from fusionscope.stages.rebuild import rebuild
from fusionscope.stages.settings import decode, encode

FULL = PartConfig(tune="full", lr=1e-2)
OUTSIDE = Path(__file__).parents[1] / "outside"


@pytest.fixture
def outside(monkeypatch):
    """The package of `tests/outside`, as if it were installed."""
    monkeypatch.syspath_prepend(OUTSIDE)
    from fusionscope_outside import stage

    yield stage
    for name in [name for name in sys.modules if name.startswith("fusionscope_outside")]:
        del sys.modules[name]


def saved_by(stage, fit, path):
    fit(stage, n=8).save_checkpoint(path)
    return read(path)


def test_a_stage_comes_back_with_its_class_and_settings(tiny, fit, tmp_path):
    lora = LoraSettings(rank=2, alpha=4, dropout=0.0)
    stage = VisualInstructionTuning(
        tiny, FULL, language_model=PartConfig(tune="lora", lr=1e-3), lora=lora, betas=(0.9, 0.98), attention="eager"
    )
    saved = saved_by(stage, fit, tmp_path / "a.ckpt")
    again = rebuild(saved, file="a.ckpt")
    assert type(again) is VisualInstructionTuning
    assert again.settings() == stage.settings()
    assert (again.base, again.lora, again.betas, again.attention) == (tiny, lora, (0.9, 0.98), "eager")
    assert again.parts == stage.parts
    again.configure_model()
    again.on_load_checkpoint(saved)
    again.load_state_dict(saved["state_dict"])
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in stage.state_dict().items())
    assert rebuild(saved, file="a.ckpt", base="elsewhere").base == "elsewhere"


def test_a_stage_from_outside_comes_back_too(tiny, fit, tmp_path, outside):
    stage = outside.BiasTuning(tiny, outside.Vectors(norms=False), projector=FULL, language_model=FULL)
    saved = saved_by(stage, fit, tmp_path / "a.ckpt")
    assert saved["state_dict"]
    assert all(value.ndim == 1 for value in saved["state_dict"].values())
    again = rebuild(saved, file="a.ckpt")
    assert type(again) is outside.BiasTuning
    assert again.vectors == outside.Vectors(norms=False)
    for name in [name for name in sys.modules if name.startswith("fusionscope_outside")]:
        del sys.modules[name]
    with pytest.raises(DataError, match=r"names the class fusionscope_outside\.stage\.BiasTuning[\s\S]*--trust"):
        rebuild(saved, file="a.ckpt")
    assert type(rebuild(saved, file="a.ckpt", trust=True)).__name__ == "BiasTuning"


def test_a_stage_that_builds_its_model_says_what_its_seed_came_to():
    torch.manual_seed(5)
    stage = UnimodalPretraining()
    assert stage.settings() == {"seed": 5}
    assert UnimodalPretraining(**stage.settings()).base_hash == stage.base_hash


def test_an_export_of_few_bits_keeps_the_class(tiny, fit, tmp_path, outside, monkeypatch):
    from fusionscope.lvlm import LVLM
    from fusionscope.stages import loading

    original = LVLM.from_pretrained
    monkeypatch.setattr(loading, "find_spec", lambda name: object())
    monkeypatch.setattr(LVLM, "from_pretrained", lambda name, quantization=None, **more: original(name, **more))
    parts = {"projector": FULL, "language_model": PartConfig(tune="lora", lr=1e-2)}
    stage = outside.BiasTuning(tiny, **parts, lora=LoraSettings(rank=2, alpha=4), quantization=QuantizationSettings())
    fit(stage, n=8)
    built, attach = [], outside.BiasTuning.attach
    monkeypatch.setattr(outside.BiasTuning, "attach", lambda self, lvlm: (built.append(type(self)), attach(self, lvlm)))
    stage.export(tmp_path / "exported")
    assert built == [outside.BiasTuning]


def test_a_setting_that_no_checkpoint_can_hold_is_refused_before_training(tiny, fit):
    class Wrapped(AlignmentPretraining):
        def __init__(self, model, teacher, **settings):
            super().__init__(model, **settings)
            self.teacher = teacher

    with pytest.raises(ConfigError, match=r"setting settings\.teacher is a Linear[\s\S]*override `settings`"):
        fit(Wrapped(tiny, torch.nn.Linear(1, 1)), n=8)

    class Said(Wrapped):
        def settings(self):
            return super().settings() | {"teacher": None}

    fit(Said(tiny, torch.nn.Linear(1, 1)), n=8)


def test_a_stage_may_be_copied_and_pickled(tiny):
    stage = AlignmentPretraining(tiny, warmup_steps=3)
    for again in (copy.deepcopy(stage), pickle.loads(pickle.dumps(stage))):
        assert again.settings() == {"model": tiny, "warmup_steps": 3}
        assert again.warmup_steps == 3


def test_what_is_not_of_this_version_is_refused():
    for saved in ({"state_dict": {}}, {KEY: {"stage": "AlignmentPretraining"}}):
        with pytest.raises(DataError, match=r"b\.ckpt was not saved by a fusionscope stage"):
            rebuild(saved, file="b.ckpt")
    about = {
        "format": 2,
        "stage": "fusionscope.stages.llava.AlignmentPretraining",
        "settings": {"model": "m", "models": 1},
    }
    with pytest.raises(DataError, match=r"does not fit this version of .*models"):
        rebuild({KEY: about}, file="b.ckpt")
    about["settings"] = {"model": "m", "lora": {"__dataclass__": "builtins.dict"}}
    with pytest.raises(DataError, match="it is no dataclass"):
        rebuild({KEY: about}, file="b.ckpt")


def test_settings_survive_as_plain_data(tmp_path):
    value = {"a": [LoraSettings(rank=3)], "b": (1, None), "c": {"d": Path("x"), "e": 2.5}}
    torch.save(encode(value, "s"), tmp_path / "s.pt")
    plain = torch.load(tmp_path / "s.pt", weights_only=True)
    assert decode(plain, "s.pt", trust=False) == value | {"c": {"d": "x", "e": 2.5}}
    with pytest.raises(ConfigError, match=r"s\.f is a function"):
        encode({"f": encode}, "s")
