"""The output directory of a Trainer that was probed while it trained: a run without stages of ours."""

import json

from fusionscope.records import Run
from fusionscope.study.sweep import find_checkpoints


def test_its_final_model_is_a_model(tmp_path):
    Run(directory=tmp_path / "out").save()
    (tmp_path / "out" / "config.json").write_text(json.dumps({}))
    (found,) = find_checkpoints([str(tmp_path / "out")])
    assert (found.kind, found.run) == ("model", "out")


def test_its_checkpoints_belong_to_the_run(tmp_path):
    run = Run(directory=tmp_path / "out").save()
    (tmp_path / "out" / "checkpoint-3").mkdir()
    (tmp_path / "out" / "checkpoint-3" / "config.json").write_text(json.dumps({}))
    (found,) = find_checkpoints([str(tmp_path / "out" / "checkpoint-3")])
    assert (found.run, found.name, found.step) == (run.id, "out", 3)
