"""Pooled embeddings of images and questions, before any decoder layer: input of classifiers and networks.

Shapes: A images, B questions, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fusionscope.lvlm import IMAGE, LVLM, Features
from fusionscope.probe.engine.scoring import Rows


@torch.no_grad()
def image_features(images: Sequence[Features]) -> Tensor:
    """Mean and standard deviation of each image's tokens, float64 [A, 2 D]."""
    states = [image["embeddings" if "embeddings" in image else "features"].double().cpu() for image in images]
    return torch.stack([torch.cat([state.mean(0), state.std(0, correction=0)]) for state in states])


@torch.no_grad()
def text_features(lvlm: LVLM, rows: Rows) -> Tensor:
    """Mean and position-weighted mean of each question's word embeddings, float64 [B, 2 D].

    The second tells orders of the same words apart.
    """
    pooled = []
    for b in range(rows.n_questions):
        ids = [i for i in rows.ids[b * rows.per_question] if i != IMAGE]
        words = lvlm.adapter.embedding(torch.tensor(ids, device=lvlm.adapter.device)).double().cpu()
        place = torch.linspace(-1, 1, len(ids), dtype=words.dtype)
        pooled.append(torch.cat([words.mean(0), (words * place[:, None]).mean(0)]))
    return torch.stack(pooled)
