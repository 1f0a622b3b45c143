"""QLoRA: what reaches transformers, what is trained, what is exported; compiled steps."""

import pytest
import torch
from safetensors.torch import load_file

from fusionscope.errors import ConfigError, MissingDependencyError
from fusionscope.lvlm import LVLM
from fusionscope.stages import LoraSettings, PartConfig, QuantizationSettings, VisualInstructionTuning, loading

FULL = PartConfig(tune="full", lr=1e-2)
ADAPTED = {
    "projector": FULL,
    "language_model": PartConfig(tune="lora", lr=1e-2),
    "lora": LoraSettings(rank=2, alpha=4, dropout=0.0),
}


@pytest.fixture
def loaded_with(monkeypatch):
    """What LVLM.from_pretrained is given; the model comes without quantization, since bitsandbytes is optional."""
    given, original = [], LVLM.from_pretrained

    def note(name, *, quantization=None, **settings):
        given.append(quantization)
        return original(name, **settings)

    monkeypatch.setattr(loading, "find_spec", lambda name: object())
    monkeypatch.setattr(LVLM, "from_pretrained", note)
    return given


@pytest.mark.parametrize("bits", [4, 8])
def test_the_setting_reaches_from_pretrained(tiny, loaded_with, bits):
    stage = VisualInstructionTuning(tiny, **ADAPTED, quantization=QuantizationSettings(bits=bits), dtype="bfloat16")
    stage.configure_model()
    (config,) = loaded_with
    assert (config.load_in_4bit, config.load_in_8bit) == (bits == 4, bits == 8)
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_compute_dtype == torch.bfloat16
    assert {"model.vision_tower", "model.multi_modal_projector", "lm_head"} <= set(config.llm_int8_skip_modules)


def test_without_the_setting_nothing_is_quantized(tiny, loaded_with):
    VisualInstructionTuning(tiny, **ADAPTED).configure_model()
    assert loaded_with == [None]


def test_without_bitsandbytes_it_says_what_to_install(tiny, monkeypatch):
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"(?s)not installed.*fusionscope\[qlora\]"):
        VisualInstructionTuning(tiny, **ADAPTED, quantization=QuantizationSettings()).configure_model()


def test_few_bits_are_not_trained_in_full(tiny):
    with pytest.raises(ConfigError, match=r"quantization of 4 bits with language_model\.tune='full'"):
        VisualInstructionTuning(tiny, quantization=QuantizationSettings())
    with pytest.raises(ConfigError, match=r"quantization\.bits=3"):
        QuantizationSettings(bits=3)


def test_an_export_merges_into_the_base_as_it_was(tiny, fit, tmp_path, loaded_with):
    stage = VisualInstructionTuning(tiny, **ADAPTED, quantization=QuantizationSettings())
    fit(stage, n=8)
    stage.export(tmp_path / "exported")
    assert loaded_with[-1] is None
    exported = load_file(tmp_path / "exported" / "model.safetensors")
    stage.quantization = None
    stage.export(tmp_path / "direct")
    direct = load_file(tmp_path / "direct" / "model.safetensors")
    assert set(exported) == set(direct)
    assert all(torch.equal(value, direct[name]) for name, value in exported.items())


def test_four_bits_train_on_a_processor(tiny, fit, tmp_path):
    """The real thing, where bitsandbytes is there (it also runs on a CPU)."""
    bnb = pytest.importorskip("bitsandbytes")
    stage = VisualInstructionTuning(tiny, **ADAPTED, quantization=QuantizationSettings())
    fit(stage, n=8)
    kinds = {name: type(module) for name, module in stage.network.named_modules()}
    quantized = {name for name, kind in kinds.items() if issubclass(kind, bnb.nn.Linear4bit)}
    assert len([name for name in quantized if name.endswith(".base_layer")]) == 4 * 7
    assert all("language_model.layers" in name for name in quantized)
    trained = {name for name, p in stage.network.named_parameters() if p.requires_grad}
    assert all(".lora_" in name or "multi_modal_projector" in name for name in trained)
    stage.export(tmp_path / "exported")
    original = load_file(f"{tiny}/model.safetensors")
    exported = load_file(tmp_path / "exported" / "model.safetensors")
    assert set(exported) == set(original)
    changed = {name for name, value in exported.items() if not torch.equal(value, original[name])}
    assert all("language_model" in name or "multi_modal_projector" in name for name in changed)
    assert any("q_proj" in name for name in changed)


def test_a_compiled_step_trains_as_the_plain_one(tiny, fit):
    """The backend captures the graph and generates no code: no compiler is needed, and it takes seconds."""
    states = []
    for backend in (None, "eager"):
        torch.manual_seed(0)
        stage = VisualInstructionTuning(tiny, projector=FULL, language_model=FULL, compile_backend=backend)
        fit(stage, n=4)
        states.append(stage.state_dict())
        assert (stage.network._compiled_call_impl is not None) == (backend is not None)
    assert set(states[0]) == set(states[1])
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, atol=1e-4, rtol=1e-4)
