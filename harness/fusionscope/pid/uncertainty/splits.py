"""Random halves of the units of a sample, which do not depend on the order of the units or of the sources.

Halves of an axis are drawn by its size alone and applied to its units in an order that their content gives, so that
permuting images, permuting questions and exchanging the sources all give the same halves.

Shapes: L problems, A images, B questions, K answers, G units (images, questions or pairs), N pairs.
"""

import torch
from torch import Tensor

SPLITS = 8
_REFINEMENTS = 3
_DIGITS = 9  # decimals of a key: sums of the same numbers in another order differ far below


def halves_of(n: int) -> list[tuple[Tensor, Tensor]]:
    """``SPLITS`` random pairs of complementary halves of ``n`` units; of an odd number each split leaves one out.

    >>> first, second = halves_of(5)[0]
    >>> len(first), len(second)
    (2, 2)
    """
    generator = torch.Generator().manual_seed(n)
    orders = [torch.randperm(n, generator=generator) for _ in range(SPLITS)]
    return [(order[: n // 2], order[n // 2 : 2 * (n // 2)]) for order in orders]


def parts_of_grid(n_images: int, n_questions: int, axes: tuple[bool, bool]) -> list[tuple[Tensor, Tensor]]:
    """Images and questions of halves, or quarters, of a grid; each two that follow one another are complementary.

    Both axes are halved at once: each contributes its own excess to the bias, and a quarter of the grid is the cheapest
    to solve. The last split of one axis goes with the first of the other, so that neither axis comes first.

    Args:
        n_images: A.
        n_questions: B.
        axes: Which of the axes are halved: images, questions.
    """
    every_A, every_B = torch.arange(n_images), torch.arange(n_questions)
    parts: list[tuple[Tensor, Tensor]] = []
    for (first, second), (early, late) in zip(halves_of(n_images), reversed(halves_of(n_questions)), strict=True):
        if axes == (True, True):
            parts += [(first, early), (second, late), (first, late), (second, early)]
        elif axes == (True, False):
            parts += [(first, every_B), (second, every_B)]
        else:
            parts += [(every_A, early), (every_A, late)]
    return parts


def in_content_order(p_LABK: Tensor, w_LAB: Tensor) -> tuple[Tensor, Tensor]:
    """The same grids with images and questions in an order that depends on the content of each grid alone.

    The key of a unit is a sum over its pairs, first of a function of the answers' probabilities there, then of that
    times the key of the other unit, a few rounds of it: units of one key are alike in all that halves depend on, but
    for rare coincidences.

    Args:
        p_LABK: p(y | a, b).
        w_LAB: Weights of the pairs.
    """
    frequency_K = torch.arange(2, 2 + p_LABK.shape[3], dtype=p_LABK.dtype, device=p_LABK.device).sqrt()
    value_LAB = w_LAB * (frequency_K * (p_LABK + p_LABK**2)).cos().sum(3)
    key_LA, key_LB = value_LAB.sum(2), value_LAB.sum(1)
    for _ in range(_REFINEMENTS):
        refined_LA = (value_LAB * _spread(key_LB)[:, None]).sum(2)
        key_LB = (value_LAB * _spread(key_LA)[..., None]).sum(1)
        key_LA = refined_LA
    order_LA, order_LB = _ranked(key_LA)[..., None], _ranked(key_LB)[:, None]
    w_LAB = w_LAB.gather(1, order_LA.expand_as(w_LAB)).gather(2, order_LB.expand_as(w_LAB))
    p_LABK = p_LABK.gather(1, order_LA[..., None].expand_as(p_LABK)).gather(2, order_LB[..., None].expand_as(p_LABK))
    return p_LABK, w_LAB


def _spread(key_LG: Tensor) -> Tensor:
    """Keys as numbers of order 1 that differ where the keys do."""
    return 1 + (7 * _scaled(key_LG)).sin() ** 2


def _ranked(key_LG: Tensor) -> Tensor:
    return _scaled(key_LG).round(decimals=_DIGITS).argsort(dim=1, stable=True)


def _scaled(key_LG: Tensor) -> Tensor:
    return key_LG / key_LG.abs().amax(1, keepdim=True).clamp(min=1e-300)
