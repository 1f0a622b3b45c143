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

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lvlm import IMAGE, LVLM, Features, undisturbed, weights_fingerprint
from fusionscope.probe.designs.noise import Moments, moments, seed_of
from fusionscope.probe.engine.pairs import Exchange, Span, run_pairs
from fusionscope.probe.engine.runner import Passes
from fusionscope.probe.engine.scoring import Rows, to_posteriors
from fusionscope.probe.engine.session import Settings, chosen_pairs, features_of, passes_for, rows_of
from fusionscope.probe.posteriors import FALLBACK_MASS, Posteriors
from fusionscope.tasks import HeldOutTask, Question


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """One probe's fixed parts."""

    lvlm: LVLM
    task: HeldOutTask
    settings: Settings
    seed: int
    passes: Passes
    rows: Rows
    images: list[Features]
    pairs: Tensor


def masked_posteriors(
    lvlm: LVLM, task: HeldOutTask, layers: Sequence[int], settings: Settings, seed: int
) -> Posteriors:
    """p(y | image, question), p(y | image) and p(y | question) of natural pairs, the latter two by masking.

    Raises:
        InputError: Options are to be kept but the task's questions have no form without the question.
    """
    start = perf_counter()
    with undisturbed(lvlm.model):
        rows = rows_of(lvlm, task.questions, settings.scoring)
        images = features_of(lvlm, task, settings)
        passes = passes_for(lvlm, layers, images, rows, settings, f"{task.name} (masked)")
        pairs, answers = chosen_pairs(task, settings, seed)
        job = _Setting(
            lvlm=lvlm, task=task, settings=settings, seed=seed, passes=passes, rows=rows, images=images, pairs=pairs
        )
        joint, mass = _scored(job, run_pairs(passes, images, rows, pairs), rows)
        language, language_mass = _averaged(job, without_image(job))
        vision, vision_mass = _averaged(job, without_question(job))
    return Posteriors(
        task=task.name,
        design="masked",
        layers=tuple(layers),
        n_layers=lvlm.n_layers,
        mass=mass,
        joint=joint,
        vision=vision,
        language=language,
        pairs=pairs,
        pair_answers=answers,
        seconds=perf_counter() - start,
        tokens=passes.tokens[0],
        batch_rows=passes.budget.rows,
        details={
            "draws": float(settings.draws),
            "fallback_rate_vision": float((vision_mass < FALLBACK_MASS).double().mean()),
            "fallback_rate_language": float((language_mass < FALLBACK_MASS).double().mean()),
        },
    )


def _scored(job: _Setting, logprob: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    score, total = rows.fold(logprob.flatten(1, 2))
    return to_posteriors(score, total, job.settings.fallback)


def _averaged(job: _Setting, draw: Callable[[int], tuple[Tensor, Rows]]) -> tuple[Tensor, Tensor]:
    """Posteriors and option mass, mean over draws; what is drawn once is run once."""
    random = job.settings.mask in ("noise", "other")
    found = [_scored(job, *draw(k)) for k in range(job.settings.draws if random else 1)]
    return torch.stack([p for p, _ in found]).mean(0), torch.stack([m for _, m in found]).mean(0)


def without_image(job: _Setting) -> Callable[[int], tuple[Tensor, Rows]]:
    """The pass that keeps the question, as a function of the draw."""
    mask = job.settings.mask
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


def without_question(job: _Setting) -> Callable[[int], tuple[Tensor, Rows]]:
    """The pass that keeps the image, as a function of the draw."""
    mask, questions = job.settings.mask, job.task.questions
    if mask == "remove":
        texts = [_kept(job, question) if job.settings.keep_options else "" for question in questions]
        blank = [replace(question, text=text) for question, text in zip(questions, texts, strict=True)]
        rows = rows_of(job.lvlm, blank, job.settings.scoring)
        return lambda draw: (run_pairs(job.passes, job.images, rows, job.pairs), rows)
    if mask == "other":
        return lambda draw: (run_pairs(job.passes, job.images, job.rows, _others(job, draw, column=1)), job.rows)
    spans = [question_span(job.lvlm, question, keep_options=job.settings.keep_options) for question in questions]
    known = _known(job, "text", _text_embeddings(job.lvlm, job.rows))

    def run(draw: int) -> tuple[Tensor, Rows]:
        def question(embeds: Tensor, pair: int) -> Tensor:
            return _put(job, known, embeds, pair, draw, part=-1)

        return run_pairs(
            job.passes, job.images, job.rows, job.pairs, Exchange(question=question, spans=spans)
        ), job.rows

    return run


def _known(job: _Setting, part: str, embeddings: Iterable[Tensor]) -> Moments:
    """The noise's statistics, computed once for these weights, images and questions where there is a cache."""
    cache = job.settings.feature_cache
    if cache is None:
        return moments(embeddings)
    over = sha256(repr((tuple(job.task.image_ids), job.rows.ids)).encode()).hexdigest()
    key = (weights_fingerprint([job.lvlm.model]), f"noise/{job.task.name}/{over}/{part}")
    kept = cache.get(key)
    if kept is None:
        found = moments(embeddings)
        kept = {"mean": found.mean, "std": found.std, "n": torch.tensor(found.n)}
        cache.put(key, kept)
    return Moments(mean=kept["mean"], std=kept["std"], n=int(kept["n"]))


def _put(job: _Setting, known: Moments, like: Tensor, pair: int, draw: int, part: int) -> Tensor:
    if job.settings.mask == "mean":
        return known.fill(like)
    return known.draw(like, seed_of(job.seed, pair, draw, part + 1), job.settings.noise_scale)


def _others(job: _Setting, draw: int, column: int) -> Tensor:
    """Pairs whose image (column 0) or question (column 1) is that of another pair, drawn at random."""
    generator = torch.Generator().manual_seed(seed_of(job.seed, draw, column))
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


def _kept(job: _Setting, question: Question) -> str:
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
