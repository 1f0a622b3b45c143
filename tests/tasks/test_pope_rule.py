"""POPE's rule: equal to what its published generator makes of made-up annotations; the law of random is exact."""

import json
from pathlib import Path

import pytest
import torch

from fusionscope.errors import ConfigError, DataError
from fusionscope.tasks import pope
from fusionscope.tasks.pope_rule import Annotated, asked, question_text, random_law, read_annotations, vocabulary

GOLDEN = json.loads((Path(__file__).parent / "golden" / "pope_rule.json").read_text())
IMAGES = read_annotations(GOLDEN["annotations"], "golden")


@pytest.mark.parametrize("variant", ["popular", "adversarial"])
def test_the_questions_are_the_published_generators(variant):
    rows = [[q.image, question_text(q.thing), "yes" if q.present else "no"] for q in asked(IMAGES, variant)]
    published = [[image, _article(text), label] for image, text, label in GOLDEN[variant]]
    assert rows == published
    assert len(rows) == 300


def _article(text):
    """The generator, as it is published, also turns other letters a of its template into an; its files do not."""
    return text.replace("imange", "image")


def test_random_asks_about_every_absent_object_as_often():
    """The published generator's frequencies over 2,000 runs, against the exact law."""
    things = list(vocabulary(IMAGES))
    weights, present = random_law(IMAGES[:3], things)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)
    runs = GOLDEN["random_runs"]
    for a, image in enumerate(IMAGES[:3]):
        for b, thing in enumerate(things):
            label = "yes" if present[a, b] else "no"
            counts = {_article(key): n for key, n in GOLDEN["random_counts"].items()}
            count = counts.get(f"{image.image}|{question_text(thing)}|{label}", 0)
            expected = float(weights[a, b]) * 3 * 6 * runs
            assert abs(count - expected) <= 4.5 * max(expected, 1) ** 0.5


def test_draws_repeat_with_their_seed_and_nothing_is_asked_twice():
    first, again, other = (list(asked(IMAGES, "random", seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    for image in IMAGES:
        things = [q.thing for q in first if q.image == image.image]
        assert len(things) == len(set(things)) == 6


def test_where_every_candidate_is_there_one_is_drawn_and_an_image_of_everything_is_refused():
    full = [Annotated(image="a", objects=("x", "y", "z")), Annotated(image="b", objects=("u", "v", "w"))]
    rows = [q for q in asked(full, "adversarial") if q.image == "a" and not q.present]
    assert {q.thing for q in rows} == {"u", "v", "w"}
    with pytest.raises(DataError, match=r"image 'a' shows all 3 objects"):
        list(asked(full[:1], "popular"))
    with pytest.raises(DataError, match="is listed once"):
        list(asked([Annotated(image="a", objects=("x", "x", "z"))], "popular"))


def test_a_task_from_annotations_runs_the_exact_law_of_random(tmp_path, paint):
    for image in IMAGES[:6]:
        paint(tmp_path, image.image)
    file = tmp_path / "annotations.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in GOLDEN["annotations"][:6]))
    task = pope.load("random", annotations=str(file), image_folder=str(tmp_path))
    things = list(vocabulary(IMAGES[:6]))
    weights, present = random_law(IMAGES[:6], things)
    assert len(task.questions) == len(things)
    torch.testing.assert_close(task.pair_weights["pope"], weights)
    assert torch.equal(task.truth, (~present).long())
    assert torch.equal(task.truth[task.pairs[:, 0], task.pairs[:, 1]], task.pair_answers)
    assert len(pope.load("popular", annotations=str(file), image_folder=str(tmp_path)).pairs) == 36
    with pytest.raises(ConfigError, match="give one of the two"):
        pope.load("popular")
