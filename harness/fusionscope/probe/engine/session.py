"""Setting up the passes of one probe: features, sequences, lens, batch size, progress."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lens import Lens, LogitLens
from fusionscope.lvlm import LVLM, FeatureCache, Features
from fusionscope.lvlm.batch import PaddingSide
from fusionscope.parallel import is_sharded
from fusionscope.probe.engine.memory import automatic_rows
from fusionscope.probe.engine.runner import Budget, Passes, Progress
from fusionscope.probe.engine.scoring import Rows, Scoring, build_rows
from fusionscope.tasks import HeldOutTask, Question

IMAGES_AT_ONCE = 32
Mask = Literal["noise", "mean", "remove", "other"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the passes are run; none of these changes a result by more than rounding.

    Args:
        batch_size: Sequences per pass; None finds it. Out of memory halves it either way.
        feature_cache: Vision features kept between calls.
        progress: True for a bar, or a callable told (done, total).
        scoring: How candidates are scored, see `build_rows`.
        lens: Hidden states to logits; None is the model's own norm and head.
        share_prefix: Use one prefix cache per image where that is exact.
        padding_side: Where rows are padded.
        fallback: Uniform distribution where the options hold less than this mass (the paper's 0.3); None keeps them.
        max_bad_images: So many pictures that do not open are left out with a warning that names them; more are an
            error.
        max_pairs: Designs over natural pairs use at most so many, drawn by the seed; None uses all.
        mask: Design "masked": what stands in for a modality: "noise" (calibrated normal embeddings, the paper's),
            "mean" (the mean embedding), "remove" (no tokens), "other" (another pair's image or question).
        draws: Design "masked": random replacements averaged per pair; the paper's way is 1.
        noise_scale: Design "masked": multiplies the noise's standard deviation.
        keep_options: Design "masked": replace the question alone and keep its options.
        folds: Design "learned": folds of the cross-fitting, at least 2.

    Raises:
        UnknownNameError: A scoring, mask or side that there is not.
        InputError: A number outside its range.
    """

    batch_size: int | None = None
    feature_cache: FeatureCache | None = None
    progress: Progress | bool | None = None
    scoring: Scoring = "auto"
    lens: Lens | None = None
    share_prefix: bool = True
    padding_side: PaddingSide = "right"
    fallback: float | None = None
    max_bad_images: int = 0
    max_pairs: int | None = None
    mask: str = "noise"
    draws: int = 1
    noise_scale: float = 1.0
    keep_options: bool = False
    folds: int = 5

    def __post_init__(self) -> None:
        for name, known in _NAMES.items():
            if getattr(self, name) not in known:
                raise UnknownNameError(
                    f"{name} {getattr(self, name)!r}", f"known are {', '.join(known)}", "use one of them"
                )
        for name, (lowest, meaning) in _LOWEST.items():
            value = getattr(self, name)
            if value is not None and not value >= lowest:
                raise InputError(f"{name}={value!r}", meaning, f"use {lowest} or more")
        if self.fallback is not None and not 0 <= self.fallback <= 1:
            raise InputError(f"fallback={self.fallback!r}", "it is a probability", "use 0.3, the paper's, or None")


_NAMES: dict[str, tuple[str, ...]] = {
    "scoring": get_args(Scoring),
    "padding_side": get_args(PaddingSide),
    "mask": get_args(Mask),
}
_LOWEST: dict[str, tuple[float, str]] = {
    "batch_size": (1, "a pass takes at least one sequence"),
    "max_bad_images": (0, "it counts pictures"),
    "max_pairs": (1, "there is nothing to decompose without pairs"),
    "draws": (1, "a masked modality is replaced by something"),
    "noise_scale": (0, "it multiplies a standard deviation"),
    "folds": (2, "a classifier must not see what it predicts"),
}


def rows_of(lvlm: LVLM, questions: Sequence[Question], scoring: Scoring) -> Rows:
    """The sequences that score a task's questions."""
    return build_rows([lvlm.prompt(question.text, question.candidates) for question in questions], scoring)


def features_of(lvlm: LVLM, task: HeldOutTask, settings: Settings) -> list[Features]:
    """Embeddings of the task's images, fewer at a time where memory runs out."""
    keys = [f"{task.name}/{name}" for name in task.image_ids]
    smaller = "free memory, or let the processor make the images smaller"
    budget = Budget(rows=IMAGES_AT_ONCE, alone=not is_sharded(lvlm.model), of="image", smaller=smaller)
    while True:
        found = budget.attempt(partial(lvlm.look, task.images, keys, settings.feature_cache))
        if found is not None:
            return found


def passes_for(
    lvlm: LVLM, layers: Sequence[int], features: Sequence[Features], rows: Rows, settings: Settings, title: str
) -> Passes:
    """The runner of one probe."""
    longest = max(map(len, rows.ids)) + max(len(lvlm.adapter.expand(one)) for one in features)
    return Passes(
        lvlm=lvlm,
        layers=layers,
        lens=settings.lens or LogitLens(norm=lvlm.final_norm, head=lvlm.head),
        budget=Budget(
            rows=settings.batch_size or automatic_rows(lvlm, longest, layers), alone=not is_sharded(lvlm.model)
        ),
        share_prefix=settings.share_prefix,
        side=settings.padding_side,
        progress=_progress(settings.progress, title),
    )


def chosen_pairs(task: HeldOutTask, settings: Settings, seed: int) -> tuple[Tensor, Tensor]:
    """The natural pairs that a design runs, int64 [N, 2], and their right answers, int64 [N]."""
    n = len(task.pairs)
    if settings.max_pairs is None or n <= settings.max_pairs:
        return task.pairs, task.pair_answers
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: settings.max_pairs].sort().values
    return task.pairs[order], task.pair_answers[order]


def _progress(wanted: Progress | bool | None, title: str) -> Callable[[int, int], None] | None:
    if wanted is None or wanted is False:
        return None
    return _Bar(title) if wanted is True else wanted


class _Bar:
    """A progress bar that closes itself at the end."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Any = None

    def __call__(self, done: int, total: int) -> None:
        from tqdm.auto import tqdm

        if self.bar is None:
            self.bar = tqdm(total=total, desc=self.title, leave=False)
        self.bar.update(done - self.bar.n)
        if done >= total:
            self.bar.close()
            self.bar = None
