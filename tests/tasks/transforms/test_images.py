"""Images covered or moved, and nothing else."""

import numpy as np
import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.tasks.transforms import occlude, shuffle_images


def test_occlusion_covers_the_fraction_in_the_middle(make_task):
    task = make_task(n_images=2)
    half = np.asarray(occlude(task, 0.25).images[0])
    whole = np.asarray(task.images[0])
    covered = (half == 128).all(-1)
    assert covered.mean() == pytest.approx(0.25, abs=0.02)
    assert covered[20, 24]
    assert (half[~covered] == whole[~covered]).all()
    assert (np.asarray(occlude(task).images[1]) == 128).all()
    assert set(occlude(task).image_ids).isdisjoint(task.image_ids)
    assert occlude(task).fingerprint == occlude(task).fingerprint != task.fingerprint
    assert occlude(task, 0.25).images.digest(0) != occlude(task, 0.5).images.digest(0)
    with pytest.raises(InputError, match="fraction=0"):
        occlude(task, 0)


def test_shuffled_images_leave_no_image_in_its_place(make_task):
    task = make_task(n_images=6)
    other = shuffle_images(task)
    assert sorted(other.image_ids) == sorted(task.image_ids)
    assert all(a != b for a, b in zip(other.image_ids, task.image_ids, strict=True))
    at = list(task.image_ids).index(other.image_ids[2])
    assert (np.asarray(other.images[2]) == np.asarray(task.images[at])).all()
    assert torch.equal(other.truth, task.truth)
    assert other.images.digest(2) == task.images.digest(at)
    assert other.fingerprint != task.fingerprint
    with pytest.raises(InputError, match="with 1 image"):
        shuffle_images(make_task(n_images=1))
