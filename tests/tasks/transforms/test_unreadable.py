"""Images that are left out are named, counted and capped, and what is left is a task."""

import pytest
import torch

from fusionscope.errors import BadImageError, DataError
from fusionscope.tasks import uniform_weights
from fusionscope.tasks.transforms import without_images, without_unreadable

BAD = {i: BadImageError(f"image '{i}.png' is thin") for i in (1, 3)}


class Torn(list):
    """A list whose second image is truncated."""

    opened = 0

    def __getitem__(self, i):
        self.opened += 1
        if i == 1:
            raise OSError("truncated")
        return super().__getitem__(i)


def test_what_is_left_is_the_task_of_the_other_images(make_task):
    task = make_task()
    with pytest.warns(UserWarning, match=r"2 images are too thin and are left out: 1\.png, 3\.png"):
        left = without_images(task, BAD, 2, "are too thin")
    assert left.image_ids == ["0.png", "2.png", "4.png"]
    assert left.pairs.tolist() == [[a, b] for a in range(3) for b in range(3)]
    assert torch.equal(left.truth, task.truth[[0, 2, 4]])
    assert torch.equal(left.truth.flatten(), left.pair_answers)
    torch.testing.assert_close(left.pair_weights["uniform"], uniform_weights(3, 3))
    assert left.dropped == {"images that are too thin": 2}
    assert [left.images.digest(i) for i in range(3)] == [task.images.digest(i) for i in (0, 2, 4)]
    assert without_images(task, {}, 0, "are too thin") is task


def test_more_than_allowed_are_refused_with_the_first_reason(make_task):
    with pytest.raises(DataError, match=r"2 of 5 images of task 'noise' are too thin(?s:.*)allows 1.*'1\.png' is thin"):
        without_images(make_task(), BAD, 1, "are too thin")
    with pytest.raises(DataError, match="1 of 1 images"):
        without_images(make_task(n_images=1), {0: BAD[1]}, 5, "are too thin")


def test_images_are_opened_once_however_often_it_is_asked(make_task):
    images = Torn(make_task().images[i] for i in range(5))
    task = make_task(images=images)
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"1 images cannot be read and are left out: 1\.png"):
            assert len(without_unreadable(task, 1).images) == 4
    assert images.opened == 5
