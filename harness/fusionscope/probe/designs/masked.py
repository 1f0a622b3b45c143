"""The masked designs: a modality is replaced, and what the model still answers stands for the other one.

This is how the paper (arXiv 2603.29676) obtains p(y | image) and p(y | question). It is here to be compared: one draw
per sample counts the draw's own noise as information, and the three label marginals need not agree. Masking never
happens unasked.

Shapes: N pairs, K answers, L layers, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from fusionscope.probe.engine.session import prepare, rows_of
from fusionscope.probe.posteriors import FALLBACK_MASS, PairPosteriors
from fusionscope.tasks import HeldOutTask, Question, digest_of_images

Mask = Literal["noise", "mean", "remove", "other"]


@dataclass(frozen=True, kw_only=True)
class Masked(PairDesign):
    """p(y | image) and p(y | question) of natural pairs from passes in which the other modality is replaced.

    Noise and means have the statistics of what they replace: of the images' tokens, and of the questions' own tokens
    without the template around them, each pair counting once.

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
            title = f"{task.name} ({self.name})"
            rows, images, passes = prepare(lvlm, task, layers, lens, spec.scoring, execution, title)
            pairs, answers = chosen_pairs(task, spec)
            job = MaskedRun(
                design=self,
                lvlm=lvlm,
                task=task,
                spec=spec,
                execution=execution,
                passes=passes,
                rows=rows,
                images=images,
                pairs=pairs,
                statistics=pairs,
                fallback=spec.fallback,
            )
            return masked_posteriors(job, self.name, layers, answers, start)


_MASKS: dict[str, str] = {
    "noise": "calibrated normal embeddings",
    "mean": "its mean embedding",
    "remove": "removing its tokens",
    "other": "that of another pair",
}


@dataclass(frozen=True, kw_only=True)
class MaskedRun:
    """The fixed parts of one probe.

    Args:
        design: What replaces a modality.
        lvlm: The model.
        task: The task.
        spec: Scoring and seed.
        execution: How to run.
        passes: The runner.
        rows: The sequences of the task's questions.
        images: Features of the task's images.
        pairs: int64 [N, 2], the pairs that are run.
        statistics: int64 [M, 2], the pairs whose tokens the replacements have the statistics of.
        fallback: Uniform distribution where the options hold less than this mass; None keeps all.
    """

    design: Masked
    lvlm: LVLM
    task: HeldOutTask
    spec: Sampling
    execution: Execution
    passes: Passes
    rows: Rows
    images: list[Features]
    pairs: Tensor
    statistics: Tensor
    fallback: float | None


def masked_posteriors(
    job: MaskedRun, design: str, layers: Sequence[int], answers: Tensor, start: float
) -> PairPosteriors:
    """Posteriors of a run, whole and with either modality replaced.

    Args:
        job: The run.
        design: Name of the design.
        layers: Layer numbers.
        answers: int64 [N], the pairs' right answers.
        start: `perf_counter` when the probe began.
    """
    joint, mass = _scored(job, run_pairs(job.passes, job.images, job.rows, job.pairs), job.rows)
    language, language_mass = _averaged(job, without_image(job))
    vision, vision_mass = _averaged(job, without_question(job))
    return PairPosteriors(
        task=job.task.name,
        design=design,
        layers=tuple(layers),
        n_layers=job.lvlm.n_layers,
        mass=mass,
        joint=joint,
        vision=vision,
        language=language,
        pairs=job.pairs,
        pair_answers=answers,
        features_vision=image_features(job.images)[job.pairs[:, 0]],
        features_language=text_features(job.lvlm, job.rows)[job.pairs[:, 1]],
        seconds=perf_counter() - start,
        tokens=job.passes.tokens[0],
        batch_rows=job.passes.budget.rows,
        details={
            "draws": float(job.design.draws),
        },
        rates={
            "fallback_rate_vision": (vision_mass < FALLBACK_MASS).double().mean(-1),
            "fallback_rate_language": (language_mass < FALLBACK_MASS).double().mean(-1),
        },
    )


def _scored(job: MaskedRun, logprob: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    score, total = rows.fold(logprob.flatten(1, 2))
    return to_posteriors(score, total, job.fallback)


def _averaged(job: MaskedRun, draw: Callable[[int], tuple[Tensor, Rows]]) -> tuple[Tensor, Tensor]:
    """Posteriors and option mass, mean over draws; what is drawn once is run once."""
    random = job.design.mask in ("noise", "other")
    found = [_scored(job, *draw(k)) for k in range(job.design.draws if random else 1)]
    return torch.stack([p for p, _ in found]).mean(0), torch.stack([m for _, m in found]).mean(0)


def without_image(job: MaskedRun) -> Callable[[int], tuple[Tensor, Rows]]:
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
        name: _known(job, f"image/{name}", 0, [image[name] for image in job.images])
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


def without_question(job: MaskedRun) -> Callable[[int], tuple[Tensor, Rows]]:
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
    known = _known(job, f"text/{spans}", 1, _span_embeddings(job.lvlm, job.rows, spans))

    def run(draw: int) -> tuple[Tensor, Rows]:
        def question(embeds: Tensor, pair: int) -> Tensor:
            return _put(job, known, embeds, pair, draw, part=-1)

        return run_pairs(
            job.passes, job.images, job.rows, job.pairs, Exchange(question=question, spans=spans)
        ), job.rows

    return run


def _known(job: MaskedRun, part: str, column: int, embeddings: Sequence[Tensor]) -> Moments:
    """The noise's statistics, computed once for these weights, images and questions where there is a cache.

    Args:
        job: The run.
        part: What they are the statistics of, for the cache: the image's states by name, or the text by its spans.
        column: 0 for images, 1 for questions.
        embeddings: Tokens [T, D] of each image, or of each question.
    """
    counts = torch.bincount(job.statistics[:, column], minlength=len(embeddings)).tolist()
    used = [i for i, count in enumerate(counts) if count]
    compute = partial(moments, (embeddings[i] for i in used), [counts[i] for i in used])
    cache = job.execution.feature_cache
    if cache is None:
        return compute()
    image_config = job.lvlm.adapter.image_config_key
    of = (part, image_config, digest_of_images(job.task.images), job.rows.ids, counts)
    model = job.execution.model_fingerprint or weights_fingerprint([job.lvlm.model])
    key = (model, f"noise/{sha256(repr(of).encode()).hexdigest()}")
    kept = cache.get(key)
    if kept is None:
        found = compute()
        kept = {"mean": found.mean, "std": found.std, "n": torch.tensor(found.n)}
        cache.put(key, kept)
    return Moments(mean=kept["mean"], std=kept["std"], n=int(kept["n"]))


def _put(job: MaskedRun, known: Moments, like: Tensor, pair: int, draw: int, part: int) -> Tensor:
    if job.design.mask == "mean":
        return known.fill(like)
    return known.draw(like, seed_of(job.spec.seed, pair, draw, part + 1), job.design.noise_scale)


def _others(job: MaskedRun, draw: int, column: int) -> Tensor:
    """Pairs whose image (column 0) or question (column 1) is that of another pair, drawn at random."""
    if len(job.pairs) < 2:
        raise InputError("mask='other' with one pair", "there is no other one to take from", "run more pairs")
    generator = torch.Generator().manual_seed(seed_of(job.spec.seed, draw, column))
    shift = torch.randint(1, len(job.pairs), (len(job.pairs),), generator=generator)
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


def _kept(job: MaskedRun, question: Question) -> str:
    if question.blanked is None:
        raise InputError(
            f"keep_options=True for the question {question.text[:60]!r}",
            "it has no form in which the question is removed and the options are kept",
            "give Question.blanked, or use keep_options=False",
        )
    return question.blanked


def _span_embeddings(lvlm: LVLM, rows: Rows, spans: Sequence[Span]) -> list[Tensor]:
    """Word embeddings [T, D] of each question's own tokens."""
    tables = []
    for b, (start, end) in enumerate(spans):
        ids = torch.tensor(rows.ids[b * rows.per_question][start:end], device=lvlm.adapter.device)
        tables.append(lvlm.adapter.embedding(ids))
    return tables
