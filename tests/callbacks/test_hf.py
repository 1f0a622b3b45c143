import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer, TrainerCallback, TrainingArguments

from fusionscope.callbacks import Schedule
from fusionscope.callbacks.hf import PIDTrainerCallback
from fusionscope.errors import ConfigError
from fusionscope.probe import ProbeSpec
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


def test_training_is_bit_identical_and_probed_on_schedule(train, task, tmp_path, capsys, steps):
    bare = train()
    probed = train([PIDTrainerCallback([task], schedule=Schedule(every_n_steps=3), progress=False)])
    assert "PIDTrainerCallback: 4 probes took" in capsys.readouterr().out
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


ONLY_LAST = ProbeSpec(layers="last")


def attempts(folder) -> list[tuple[int, int]]:
    return [(record.attempt, record.step) for record in RecordFile(folder / "records.jsonl").read()]


def every_2(task) -> PIDTrainerCallback:
    return PIDTrainerCallback([task], schedule=Schedule(every_n_steps=2, at_end=False), spec=ONLY_LAST, progress=False)


SAVING = {"save_strategy": "steps", "save_steps": 3}


def test_a_second_training_in_one_output_directory_is_a_new_attempt(train, task, tmp_path):
    train([every_2(task)], max_steps=4)
    trainer = train([every_2(task)], max_steps=2)
    assert attempts(tmp_path / "out") == [(2, 0), (2, 2)]
    trainer.train()
    assert attempts(tmp_path / "out") == [(3, 0), (3, 2)]
    assert len(RecordFile(tmp_path / "out" / "records.jsonl").read(every=True)) == 7


def test_a_training_resumed_from_an_earlier_checkpoint_branches_off(train, task, tmp_path):
    train([every_2(task)], max_steps=5, **SAVING)
    train([every_2(task)], max_steps=6, resume=str(tmp_path / "out" / "checkpoint-3"), **SAVING)
    assert attempts(tmp_path / "out") == [(1, 0), (1, 2), (2, 4), (2, 6)]
    train([every_2(task)], max_steps=8, resume=str(tmp_path / "out" / "checkpoint-6"), **SAVING)
    assert attempts(tmp_path / "out") == [(1, 0), (1, 2), (2, 4), (2, 6), (2, 8)]


def test_an_output_directory_renamed_before_the_resume_changes_nothing(train, task, tmp_path):
    train([every_2(task)], max_steps=3, **SAVING)
    (tmp_path / "out").rename(tmp_path / "moved")
    renamed = {"resume": str(tmp_path / "moved" / "checkpoint-3"), "max_steps": 4}
    train([every_2(task)], output_dir=str(tmp_path / "moved"), **renamed)
    assert attempts(tmp_path / "moved") == [(1, 0), (1, 2), (1, 4)]


def test_callbacks_of_one_trainer_record_one_attempt(train, task, tmp_path):
    other = PIDTrainerCallback(
        [task], schedule=Schedule(every_n_steps=2), spec=ProbeSpec(layers="last", design="learned"), progress=False
    )
    train([every_2(task), other], max_steps=2)
    assert attempts(tmp_path / "out") == [(1, 0), (1, 0), (1, 2), (1, 2)]


def test_a_callback_that_is_new_to_a_resumed_training_begins_a_run(train, task, tmp_path):
    train(max_steps=3, **SAVING)
    train([every_2(task)], max_steps=4, resume=str(tmp_path / "out" / "checkpoint-3"), **SAVING)
    assert attempts(tmp_path / "out") == [(1, 4)]


def test_the_model_may_be_part_of_what_is_trained(task, tmp_path):
    callback = PIDTrainerCallback([task], model="inner.vlm")
    with pytest.raises(ConfigError, match=r"(?s)Linear has no attribute 'inner.vlm'.*PIDTrainerCallback"):
        callback.resolve(torch.nn.Linear(1, 1), callback.model)
