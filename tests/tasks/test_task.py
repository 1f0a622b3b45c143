"""A task that is inconsistent in itself is refused when it is made."""

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.tasks import LazyImages, Question, uniform_weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": " "}, "has no name"),
        ({"image_ids": ["0.png"]}, "has 1 ids for 5 images"),
        ({"questions": []}, "no images or no questions"),
        ({"answers": ("yes",)}, "has 1 answers"),
        ({"answers": ("yes", "no", "both")}, "question 0 has 2 candidates"),
        ({"pairs": torch.zeros(4, 3)}, r"pairs \(4, 3\) and pair_answers"),
        ({"pairs": torch.tensor([[0, 3]] * 15)}, r"has pairs \[\[0, 3\]"),
        ({"pairs": torch.tensor([[-1, 0]] * 15)}, r"has pairs \[\[-1, 0\]"),
        ({"pair_answers": torch.full((15,), 2)}, r"has pair_answers \[2"),
        ({"truth": torch.zeros(3, 5)}, r"has truth \(3, 5\)"),
        ({"truth": torch.full((5, 3), 2)}, "has truth from 2 to 2"),
        ({"pair_weights": {}}, "crossable without uniform weights"),
        ({"pair_weights": {"uniform": 2 * uniform_weights(5, 3)}}, r"pair_weights\['uniform'\].*sum 2"),
        ({"pair_weights": {"uniform": torch.full((5, 3), float("nan"))}}, r"pair_weights\['uniform'\].*sum nan"),
        ({"pairs": torch.zeros(0, 2), "pair_answers": torch.zeros(0), "crossable": False}, "has no pairs"),
    ],
)
def test_what_does_not_fit_together_is_named(make_task, changes, message):
    with pytest.raises(InputError, match=rf"task '.*' .*{message}"):
        make_task(**changes)


@pytest.mark.parametrize("text", ["\ud800", 3, None])
def test_a_question_is_unicode_text(text):
    with pytest.raises(InputError, match="no text, or no Unicode"):
        Question(text=text, candidates=("yes", "no"))
    with pytest.raises(InputError, match="no text, or no Unicode"):
        Question(text="Q?", candidates=("yes", text))


def test_candidates_differ():
    with pytest.raises(InputError, match="they stand for different answers"):
        Question(text="Q?", candidates=("yes", "yes"))


def test_images_are_kept_lazily_under_their_ids(make_task):
    task = make_task()
    assert isinstance(task.images, LazyImages)
    assert [source.name for source in task.images.sources] == list(task.image_ids)
