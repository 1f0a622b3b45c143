"""A task is what it asks and shows, not what it is called."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fusionscope.errors import BadImageError
from fusionscope.tasks import Question, load_task


def rows(folder, answer="yes", question="Is it red?", shade=1):
    folder.mkdir()
    for i in range(2):
        Image.new("RGB", (3, 2), (shade, i, 0)).save(folder / f"{i}.png")
    lines = [
        {"image": f"{i}.png", "question": f"{question} {i}", "options": ["yes", "no"], "answer": answer}
        for i in range(2)
    ]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return str(folder / "rows.jsonl")


def test_equal_content_elsewhere_is_the_same_task_and_changed_content_is_another(tmp_path):
    first = load_task("custom", path=rows(tmp_path / "a"))
    moved = load_task("custom/other", path=rows(tmp_path / "b"), name="mine", citation="me", licence="MIT")
    assert (moved.name, moved.fingerprint) == ("mine", first.fingerprint)
    others = [
        load_task("custom", path=rows(tmp_path / "answer", answer="no")),
        load_task("custom", path=rows(tmp_path / "question", question="Is it blue?")),
        load_task("custom", path=rows(tmp_path / "shade", shade=2)),
        load_task("custom", path=rows(tmp_path / "c"), ending="Answer yes or no."),
        load_task("custom", path=rows(tmp_path / "d"), crossable=True),
    ]
    assert len({task.fingerprint for task in [first, *others]}) == 6


def test_every_field_that_a_probe_reads_counts_and_no_name_does(make_task):
    task = make_task()
    weights = {"uniform": task.pair_weights["uniform"], "natural": task.pair_weights["uniform"]}
    order = torch.arange(len(task.pairs)).flip(0)
    changes = [
        {"questions": [replace(task.questions[0], blanked=""), *task.questions[1:]]},
        {"questions": [Question(text="Is it red?", candidates=("Yes", "no")), *task.questions[1:]]},
        {"questions": task.questions[::-1]},
        {"answers": ("yes", "No")},
        {"pair_answers": 1 - task.pair_answers},
        {"pairs": task.pairs[order]},
        {"truth": 1 - task.truth},
        {"truth": None},
        {"pair_weights": weights},
        {"pair_weights": {"uniform": weights["uniform"], "other": weights["uniform"]}},
        {"images_enumerated": True},
        {"images_balanced": True},
        {"questions_enumerated": True},
        {"images": task.images.select([1, 0, 2, 3, 4])},
    ]
    prints = [task.fingerprint, *(replace(task, **change).fingerprint for change in changes)]
    assert len(set(prints)) == len(prints)
    named = replace(
        task,
        name="other",
        image_ids=list("abcde"),
        dropped={"x": 1},
        citation="c",
        licence="l",
        pair_weights=dict(task.pair_weights),
    )
    assert named.fingerprint == task.fingerprint


def test_it_is_computed_once_and_opens_no_file(make_task, tmp_path, monkeypatch):
    task = make_task()
    noise = task.images.sources[0].draw.images
    assert task.fingerprint == task.fingerprint
    assert noise.opened == 5
    from_files = load_task("custom", path=rows(tmp_path / "a"))
    monkeypatch.setattr(Image, "open", None)
    assert from_files.fingerprint


def test_a_missing_file_has_no_fingerprint(tmp_path):
    task = load_task("custom", path=rows(tmp_path / "a"))
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(BadImageError, match=r"image '1\.png' cannot be read"):
        _ = task.fingerprint


def test_images_in_memory_are_told_apart_by_what_is_seen(make_task):
    grey = np.full((4, 4), 7, dtype=np.uint8)
    images = [Image.fromarray(grey), Image.fromarray(grey).convert("RGB"), Image.new("RGBA", (4, 4), (7, 7, 7, 255))]
    task = make_task(n_images=3, images=images)
    assert len({task.images.digest(i) for i in range(3)}) == 1
