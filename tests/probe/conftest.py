"""A tiny LLaVA and a small crossed task, shared by the probe's tests."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from fusionscope.lvlm import LVLM, miniature
from fusionscope.tasks import HeldOutTask, Question, uniform_weights


class Noise(Sequence):
    """Random pictures, drawn when asked for."""

    def __init__(self, n, shape=(40, 48)):
        self.n, self.shape, self.opened = n, shape, 0

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if not 0 <= i < self.n:
            raise IndexError(i)
        self.opened += 1
        return Image.fromarray(np.random.default_rng(i).integers(0, 255, (*self.shape, 3), dtype=np.uint8))


TEXTS = ("Is it red?", "Is the large thing on the left of it a circle?", "Is it?", "Are there two of them?")


@pytest.fixture(scope="session")
def make_task():
    def make(n_images=5, n_questions=3, candidates=("yes", "no"), crossable=True, **changes) -> HeldOutTask:
        truth = torch.arange(n_images * n_questions).view(n_images, n_questions) % len(candidates)
        pairs = torch.cartesian_prod(torch.arange(n_images), torch.arange(n_questions))
        settings = {
            "name": "noise",
            "images": Noise(n_images),
            "image_ids": [f"{i}.png" for i in range(n_images)],
            "questions": [Question(text=text, candidates=candidates) for text in TEXTS[:n_questions]],
            "answers": candidates,
            "pairs": pairs,
            "pair_answers": truth.flatten(),
            "crossable": crossable,
            "truth": truth,
            "pair_weights": {"uniform": uniform_weights(n_images, n_questions)},
        }
        return HeldOutTask(**settings | changes)

    return make


@pytest.fixture(scope="session")
def llava() -> LVLM:
    return LVLM.wrap(*miniature("llava"))
