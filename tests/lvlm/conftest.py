"""A small task, what a model answers on it, and whole processors of miniatures, whatever is installed here."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.processing_utils import ProcessorMixin

from fusionscope.probe import posteriors
from fusionscope.tasks import HeldOutTask, Question, uniform_weights

pytest.register_assert_rewrite("family_tester")

SIZES = ((40, 48), (64, 32), (40, 48))
TEXTS = ("Is it red?", "Is the large thing on the left of it a circle?")
ANSWERS = ("yes", "no")


def noise_images():
    return [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (*size, 3), dtype=np.uint8))
        for i, size in enumerate(SIZES)
    ]


@pytest.fixture(scope="session")
def task():
    return HeldOutTask(
        name="families",
        images=noise_images(),
        image_ids=["a", "b", "c"],
        questions=[Question(text=text, candidates=ANSWERS) for text in TEXTS],
        answers=ANSWERS,
        pairs=torch.cartesian_prod(torch.arange(3), torch.arange(2)),
        pair_answers=torch.zeros(6, dtype=torch.long),
        crossable=True,
        truth=torch.zeros(3, 2, dtype=torch.long),
        pair_weights={"uniform": uniform_weights(3, 2)},
    )


@pytest.fixture(scope="session")
def answers_of():
    """Posteriors at all layers."""
    return lambda lvlm, task, *args, **settings: posteriors(lvlm, task, *args, **settings).conditionals


@pytest.fixture
def any_processor(monkeypatch):
    """Processors take any part for videos; the real one needs torchvision."""
    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda *arguments, **settings: None)
