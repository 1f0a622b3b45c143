"""Cached features belong to an image's content, whatever image and task are called."""

from dataclasses import replace

import pytest
import torch

from fusionscope.lvlm import FeatureCache
from fusionscope.probe import Execution, ProbeSpec, posteriors


@pytest.mark.parametrize("design", ["crossed", "masked"])
def test_two_tasks_of_one_name_do_not_share_features(llava, make_task, design):
    first = make_task(n_images=3)
    second = replace(first, images=first.images.map(lambda image: image.rotate(180), "rotate(180)"))
    execution = Execution(feature_cache=FeatureCache())
    spec = ProbeSpec(design=design, layers="last")
    posteriors(llava, first, spec, execution=execution)
    cached = posteriors(llava, second, spec, execution=execution)
    alone = posteriors(llava, second, spec)
    for name in ("conditionals",) if design == "crossed" else ("joint", "vision", "language"):
        torch.testing.assert_close(getattr(cached, name), getattr(alone, name), rtol=0, atol=1e-6)


def test_equal_images_of_other_tasks_are_encoded_once(llava, make_task):
    cache = FeatureCache()
    first = make_task(n_images=3)
    posteriors(llava, first, ProbeSpec(layers="last"), execution=Execution(feature_cache=cache))
    renamed = replace(first, name="other", image_ids=list("abc"), images=first.images.select([2, 0, 1]))
    posteriors(llava, renamed, ProbeSpec(layers="last"), execution=Execution(feature_cache=cache))
    assert (len(cache), cache.hits, cache.misses) == (3, 3, 3)
