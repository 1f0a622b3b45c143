"""The masked designs: a modality is replaced, and what the model still answers stands for the other one.

This is how the paper (arXiv 2603.29676) obtains p(y | image) and p(y | question). It is here to be compared: one draw
per sample counts the draw's own noise as information, and the three label marginals need not agree. Masking never
happens unasked.

Shapes: N pairs, K answers, L layers, D width.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from time import perf_counter
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from fusionscope.errors import InputError, UnknownNameError
from fusionscope.lens import Lens
from fusionscope.lvlm import IMAGE, LVLM, Features, undisturbed, weights_fingerprint
from fusionscope.probe.designs.base import PairDesign, Sampling, chosen_pairs
from fusionscope.probe.designs.features import image_features, text_features
from fusionscope.probe.designs.noise import Moments, moments, seed_of
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.engine.pairs import Exchange, Span, run_pairs
from fusionscope.probe.engine.runner import Passes
from fusionscope.probe.engine.scoring import Rows, to_posteriors
from fusionscope.probe.engine.session import features_of, passes_for, rows_of
from fusionscope.probe.posteriors import FALLBACK_MASS, PairPosteriors
from fusionscope.tasks import HeldOutTask, Question, digest_of_images

Mask = Literal["noise", "mean", "remove", "other"]


@dataclass(frozen=True, kw_only=True)
class Masked(PairDesign):
    """p(y | image) and p(y | question) of natural pairs from passes in which the other modality is replaced.

    Args:
        mask: What replaces a modality: ``"noise"`` (calibrated normal embeddings, the paper's), ``"mean"`` (the mean
            embedding), ``"remove"`` (no tokens), ``"other"`` (another pair's image or question).
        draws: Random replacements averaged per pair; the paper's way is 1.
        noise_scale: Multiplies the noise's standard deviation.
        keep_options: Replace the question alone and keep its options.

    Raises:
        UnknownNameError: No such mask.
        InputError: A number outside its range.
    """

    name: ClassVar[str] = "masked"
    has_features: ClassVar[bool] = True
    mask: Mask = "noise"
    draws: int = 1
    noise_scale: float = 1.0
    keep_options: bool = False

    def __post_init__(self) -> None:
        if self.mask not in get_args(Mask):
            raise UnknownNameError(f"mask {self.mask!r}", f"known are {', '.join(get_args(Mask))}", "use one of them")
        if isinstance(self.draws, bool) or not isinstance(self.draws, int) or self.draws < 1:
            raise InputError(f"draws={self.draws!r}", "a masked modality is replaced by something", "use 1 or more")
        if not isinstance(self.noise_scale, int | float) or not self.noise_scale >= 0:
            raise InputError(f"noise_scale={self.noise_scale!r}", "it multiplies a standard deviation", "use 0 or more")

    @property
    def sentence(self) -> str:
        return (
            "p(y|image) and p(y|question) come from passes in which the other modality was masked by "
            f"{_MASKS[self.mask]}, {self.draws} draw{'s' if self.draws > 1 else ''} per pair (masked design, that of "
            "Xiu et al.); what the model answers to masked input is taken as what it knows without it."
        )

    def posteriors(
        self, lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], lens: Lens, spec: Sampling, execution: Execution
    ) -> PairPosteriors:
        """Run the natural pairs whole and with either modality masked.

        Raises:
            InputError: Options are to be kept but the task's questions have no form without the question.
        """
        start = perf_counter()
        with undisturbed(lvlm.model):
            rows = rows_of(lvlm, task.questions, spec.scoring)
            images = features_of(lvlm, task, execution)
            passes = passes_for(lvlm, layers, images, rows, lens, execution, f"{task.name} (masked)")
            pairs, answers = chosen_pairs(task, spec)
            job = _Job(
                design=self,
                lvlm=lvlm,
                task=task,
                spec=spec,
                execution=execution,
                passes=passes,
                rows=rows,
                images=images,
                pairs=pairs,
            )
            joint, mass = _scored(job, run_pairs(passes, images, rows, pairs), rows)
            language, language_mass = _averaged(job, without_image(job))
            vision, vision_mass = _averaged(job, without_question(job))
        return PairPosteriors(
            task=task.name,
            design=self.name,
            layers=tuple(layers),
            n_layers=lvlm.n_layers,
            mass=mass,
            joint=joint,
            vision=vision,
            language=language,
            pairs=pairs,
            pair_answers=answers,
            features_vision=image_features(images)[pairs[:, 0]],
            features_language=text_features(lvlm, rows)[pairs[:, 1]],
            seconds=perf_counter() - start,
            tokens=passes.tokens[0],
            batch_rows=passes.budget.rows,
            details={
                "draws": float(self.draws),
                "fallback_rate_vision": float((vision_mass < FALLBACK_MASS).double().mean()),
                "fallback_rate_language": float((language_mass < FALLBACK_MASS).double().mean()),
            },
        )


_MASKS: dict[str, str] = {
    "noise": "calibrated normal embeddings",
    "mean": "its mean embedding",
    "remove": "removing its tokens",
    "other": "that of another pair",
}


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The fixed parts of one probe."""

    design: Masked
    lvlm: LVLM
    task: HeldOutTask
    spec: Sampling
    execution: Execution
    passes: Passes
    rows: Rows
    images: list[Features]
    pairs: Tensor


def _scored(job: _Job, logprob: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    score, total = rows.fold(logprob.flatten(1, 2))
    return to_posteriors(score, total, job.spec.fallback)


def _averaged(job: _Job, draw: Callable[[int], tuple[Tensor, Rows]]) -> tuple[Tensor, Tensor]:
    """Posteriors and option mass, mean over draws; what is drawn once is run once."""
    random = job.design.mask in ("noise", "other")
    found = [_scored(job, *draw(k)) for k in range(job.design.draws if random else 1)]
    return torch.stack([p for p, _ in found]).mean(0), torch.stack([m for _, m in found]).mean(0)


def without_image(job: _Job) -> Callable[[int], tuple[Tensor, Rows]]:
    """The pass that keeps the question, as a function of the draw."""
    mask = job.design.mask
    if mask == "remove":
        bare = replace(job.rows, ids=tuple(tuple(i for i in ids if i != IMAGE) for ids in job.rows.ids))
        return lambda draw: (run_pairs(job.passes, job.images, bare, job.pairs), bare)
    if mask == "other":
        return lambda draw: (run_pairs(job.passes, job.images, job.rows, _others(job, draw, column=0)), job.rows)
    if not job.lvlm.adapter.image_states:
        raise InputError(
            f"mask={mask!r} for a model of type {job.lvlm.adapter.model.config.model_type!r}",
            "its image embeddings depend on the question, so noise in their place would remove both",
            "use mask='remove' or 'other', or better design='crossed', which masks nothing",
        )
    states = {
        name: _known(job, f"image/{name}", (image[name] for image in job.images))
        for name in job.lvlm.adapter.image_states
    }

    def run(draw: int) -> tuple[Tensor, Rows]:
        def image(pair: int) -> Features:
            found = job.images[int(job.pairs[pair, 0])]
            return found | {
                name: _put(job, known, found[name], pair, draw, part)
                for part, (name, known) in enumerate(states.items())
            }

        return run_pairs(job.passes, job.images, job.rows, job.pairs, Exchange(image=image)), job.rows

    return run


def without_question(job: _Job) -> Callable[[int], tuple[Tensor, Rows]]:
    """The pass that keeps the image, as a function of the draw."""
    mask, questions = job.design.mask, job.task.questions
    if mask == "remove":
        texts = [_kept(job, question) if job.design.keep_options else "" for question in questions]
        blank = [replace(question, text=text) for question, text in zip(questions, texts, strict=True)]
        rows = rows_of(job.lvlm, blank, job.spec.scoring)
        return lambda draw: (run_pairs(job.passes, job.images, rows, job.pairs), rows)
    if mask == "other":
        return lambda draw: (run_pairs(job.passes, job.images, job.rows, _others(job, draw, column=1)), job.rows)
    spans = [question_span(job.lvlm, question, keep_options=job.design.keep_options) for question in questions]
    known = _known(job, "text", _text_embeddings(job.lvlm, job.rows))

    def run(draw: int) -> tuple[Tensor, Rows]:
        def question(embeds: Tensor, pair: int) -> Tensor:
            return _put(job, known, embeds, pair, draw, part=-1)

        return run_pairs(
            job.passes, job.images, job.rows, job.pairs, Exchange(question=question, spans=spans)
        ), job.rows

    return run


def _known(job: _Job, part: str, embeddings: Iterable[Tensor]) -> Moments:
    """The noise's statistics, computed once for these weights, images and questions where there is a cache."""
    cache = job.execution.feature_cache
    if cache is None:
        return moments(embeddings)
    over = sha256(repr((digest_of_images(job.task.images), job.rows.ids)).encode()).hexdigest()
    key = (weights_fingerprint([job.lvlm.model]), f"noise/{over}/{part}")
    kept = cache.get(key)
    if kept is None:
        found = moments(embeddings)
        kept = {"mean": found.mean, "std": found.std, "n": torch.tensor(found.n)}
        cache.put(key, kept)
    return Moments(mean=kept["mean"], std=kept["std"], n=int(kept["n"]))


def _put(job: _Job, known: Moments, like: Tensor, pair: int, draw: int, part: int) -> Tensor:
    if job.design.mask == "mean":
        return known.fill(like)
    return known.draw(like, seed_of(job.spec.seed, pair, draw, part + 1), job.design.noise_scale)


def _others(job: _Job, draw: int, column: int) -> Tensor:
    """Pairs whose image (column 0) or question (column 1) is that of another pair, drawn at random."""
    generator = torch.Generator().manual_seed(seed_of(job.spec.seed, draw, column))
    shift = torch.randint(1, max(2, len(job.pairs)), (len(job.pairs),), generator=generator)
    changed = job.pairs.clone()
    changed[:, column] = job.pairs[(torch.arange(len(job.pairs)) + shift) % len(job.pairs), column]
    return changed


def question_span(lvlm: LVLM, question: Question, *, keep_options: bool) -> Span:
    """Where the question lies in its prompt, with or without its options.

    Raises:
        InputError: The tokenizer gives no offsets, or the options cannot be told from the question.
    """
    text = question.text
    if keep_options:
        kept = question.blanked
        if not kept or kept not in text:
            raise InputError(
                f"keep_options=True for the question {text[:60]!r}",
                "its `blanked` form (the options alone) is not a part of its text",
                "give Question.blanked, use mask='remove', or keep_options=False",
            )
        text = text.replace(kept, "")
    span = lvlm.adapter.chat.span(question.text, text.strip())
    if span is None:
        raise InputError(
            f"no token positions for the question {text[:60]!r}",
            f"{type(lvlm.tokenizer).__name__} reports no character offsets, or the template rewrites the text",
            "use a fast tokenizer, or mask='remove' or 'other', which need no positions",
        )
    return span


def _kept(job: _Job, question: Question) -> str:
    if question.blanked is None:
        raise InputError(
            f"keep_options=True for the question {question.text[:60]!r}",
            "it has no form in which the question is removed and the options are kept",
            "give Question.blanked, or use keep_options=False",
        )
    return question.blanked


def _text_embeddings(lvlm: LVLM, rows: Rows) -> list[Tensor]:
    return [
        lvlm.adapter.embedding(torch.tensor([i for i in ids if i != IMAGE], device=lvlm.adapter.device))
        for ids in rows.ids
    ]
