import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer, TrainerCallback, TrainingArguments

from fusionscope.callbacks import Schedule
from fusionscope.callbacks.hf import PIDTrainerCallback
from fusionscope.errors import ConfigError
from fusionscope.records import RecordFile


@pytest.fixture
def train(tiny_llava, task, tmp_path):
    """``train(callbacks, **arguments) -> trainer``: eight small batches, always the same."""
    processor = AutoProcessor.from_pretrained(tiny_llava)

    def collate(rows):
        text = ["user : scene <image> . describe the picture"] * len(rows)
        batch = processor(text=text, images=[row["image"] for row in rows], return_tensors="pt")
        return {**batch, "labels": batch["input_ids"].clone()}

    def run(callbacks=(), *, resume=None, processing_class=processor, **arguments):
        settings = {"output_dir": str(tmp_path / "out"), "num_train_epochs": 1, "per_device_train_batch_size": 2}
        quiet = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "logging_steps": 1, "use_cpu": True}
        arguments = settings | quiet | {"remove_unused_columns": False} | arguments
        trainer = Trainer(
            AutoModelForImageTextToText.from_pretrained(tiny_llava),
            TrainingArguments(**arguments),
            train_dataset=[{"image": image} for image in list(task.images)[:16]],
            eval_dataset=[{"image": image} for image in list(task.images)[16:18]],
            data_collator=collate,
            processing_class=processing_class,
            callbacks=list(callbacks),
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return run


def losses(trainer) -> list[float]:
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


def test_training_is_bit_identical_and_probed_on_schedule(train, task, tmp_path, caplog, steps):
    bare = train()
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        probed = train([PIDTrainerCallback([task], schedule=Schedule(every_n_steps=3), progress=False)])
    assert "PIDTrainerCallback: 4 probes took" in caplog.text
    assert losses(probed) == losses(bare)
    assert len(losses(bare)) == 8
    for (name, ours), theirs in zip(probed.model.state_dict().items(), bare.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    assert steps(tmp_path / "out") == [0, 3, 6, 8]
    assert list((tmp_path / "out" / "tensorboard").glob("events*"))


def test_checkpoints_are_probed_and_a_resumed_run_goes_on(train, task, tmp_path, steps):
    schedule = Schedule(at_checkpoints=True, at_start=False)
    saving = {"save_strategy": "steps", "save_steps": 3}
    train([PIDTrainerCallback([task], schedule=schedule, progress=False)], max_steps=3, **saving)
    assert steps(tmp_path / "out") == [3]
    resume = str(tmp_path / "out" / "checkpoint-3")
    train([PIDTrainerCallback([task], schedule=schedule, progress=False)], resume=resume, **saving)
    assert steps(tmp_path / "out") == [3, 6, 8]


def last_synergies(folder) -> list[float]:
    return [r.synergy for r in RecordFile(folder / "records.jsonl").read() if r.step == r.stage_step == 4]


BEST = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
BEST |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": True}


@pytest.fixture
def other_weights(monkeypatch):
    """Stands for a best checkpoint that is not the last: other weights are loaded before training is said to end."""
    monkeypatch.setattr(Trainer, "_load_best_model", lambda self: self.model.lm_head.weight.data.mul_(-3.0))


def test_the_last_step_is_probed_before_the_best_weights_are_loaded(train, task, tmp_path, other_weights):
    schedule = Schedule(at_start=False)
    train([PIDTrainerCallback([task], schedule=schedule, progress=False)], max_steps=4)
    expected = last_synergies(tmp_path / "out")
    arguments = BEST | {"output_dir": str(tmp_path / "best"), "max_steps": 4}
    train([PIDTrainerCallback([task], schedule=schedule, progress=False)], **arguments)
    assert last_synergies(tmp_path / "best") == expected != []


def test_best_weights_never_stand_as_those_of_the_step_that_stopped_early(train, task, tmp_path, other_weights, steps):
    class Stop(TrainerCallback):
        def on_evaluate(self, args, state, control, **given):
            control.should_training_stop = True

    with pytest.warns(UserWarning, match="step 1 was not probed"):
        train([PIDTrainerCallback([task], schedule=Schedule(), progress=False), Stop()], **BEST)
    assert steps(tmp_path / "out") == [0]


def test_a_trainer_without_a_processor_is_told_what_to_do(train, task):
    with pytest.raises(ConfigError, match=r"Trainer\(processing_class=processor\)"):
        train([PIDTrainerCallback([task])], processing_class=None)
