"""Strategies under which updates or checkpoints would be wrong are refused; test_distributed.py trains under others."""

from types import SimpleNamespace

import pytest
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from fusionscope.errors import ConfigError, DataError, MissingDependencyError
from fusionscope.stages import checkpoint
from fusionscope.stages.checkpoint import read
from fusionscope.stages.scaling import DeepSpeedScaling, InPlaceScaling, gradient_scaling
from fusionscope.stages.strategies import prepare


def trainer(cls=DeepSpeedStrategy, *, precision="bf16-mixed", batches=6, pieces=2, **config):
    """What the checks look at; a strategy without its constructor, which wants deepspeed installed."""
    strategy = object.__new__(cls)
    strategy.config = {"zero_optimization": {"stage": 2}, **config}
    loop = SimpleNamespace(setup_data=lambda: None)
    return SimpleNamespace(
        strategy=strategy,
        precision=precision,
        num_training_batches=batches,
        accumulate_grad_batches=pieces,
        fit_loop=loop,
    )


def test_strategies_whose_updates_or_checkpoints_would_be_wrong_are_refused():
    with pytest.raises(ConfigError, match=r"(?s)ZeRO stage 3.*ModelParallelStrategy \(FSDP2\)"):
        prepare(trainer(zero_optimization={"stage": 3}))
    with pytest.raises(ConfigError, match=r"(?s)ZeRO stage 0.*ddp or deepspeed_stage_2"):
        prepare(trainer(zero_optimization=None))
    with pytest.raises(ConfigError, match=r"(?s)precision=16-mixed with DeepSpeed.*bf16-mixed"):
        prepare(trainer(precision="16-mixed"))
    with pytest.raises(ConfigError, match="optimizer in DeepSpeed's config"):
        prepare(trainer(optimizer={"type": "Adam"}))
    with pytest.raises(ConfigError, match=r"(?s)strategy=fsdp.*ModelParallelStrategy \(FSDP2\)"):
        prepare(trainer(FSDPStrategy))
    for kind in ("bf16-true", "16-true"):
        with pytest.raises(ConfigError, match=f"(?s)trainer.precision={kind}.*bf16-mixed"):
            prepare(trainer(precision=kind))
    allowed = trainer()
    prepare(allowed)
    assert allowed.strategy.exclude_frozen_parameters


@pytest.mark.parametrize(
    ("split", "pieces", "said"),
    [
        (2, False, "tensor_parallel_size=2.*each of the others would train another model"),
        (1, True, "save_distributed_checkpoint=True.*neither be resumed nor probed"),
    ],
)
def test_lightnings_own_settings_of_fsdp2_are_refused(split, pieces, said):
    """With them processes train apart without a word, and checkpoints miss keys when they are loaded."""
    strategy = ModelParallelStrategy(save_distributed_checkpoint=pieces)
    strategy._device_mesh = {"tensor_parallel": SimpleNamespace(size=lambda: split)}
    with pytest.raises(ConfigError, match=f"(?s){said}.*tensor_parallel_size: 1, save_distributed_checkpoint: false"):
        prepare(SimpleNamespace(strategy=strategy, precision="bf16-mixed"))


def test_accumulation_that_does_not_end_with_the_epoch_is_refused():
    with pytest.raises(ConfigError, match=r"(?s)5 batches .*accumulate_grad_batches=2.*limit_train_batches to 4"):
        DeepSpeedScaling(trainer(batches=5)).check_windows()
    with pytest.raises(ConfigError, match="a multiple of 2"):
        DeepSpeedScaling(trainer(batches=float("inf"))).check_windows()
    DeepSpeedScaling(trainer(batches=6)).check_windows()
    DeepSpeedScaling(trainer(batches=5, pieces=1)).check_windows()
    InPlaceScaling(trainer(batches=5)).check_windows()


def test_each_strategy_has_its_scaling():
    assert type(gradient_scaling(trainer(DeepSpeedStrategy))) is DeepSpeedScaling
    assert type(gradient_scaling(trainer(ModelParallelStrategy))) is InPlaceScaling


def test_a_directory_of_shards_needs_deepspeed_and_an_end(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="file `latest`"):
        read(tmp_path)
    (tmp_path / "latest").write_text("checkpoint")
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="convert_zero_checkpoint_to_fp32_state_dict"):
        read(tmp_path)
