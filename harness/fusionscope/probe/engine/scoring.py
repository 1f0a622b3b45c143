"""Scoring candidates: which sequences to run, where to read them, and how reads become posteriors.

Shapes: B questions, K candidates, R rows (sequences), T reads per row, C target tokens per read, L layers, N runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lvlm import Prompt

Scoring = Literal["auto", "single", "sequence"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The sequences that score all candidates of all questions.

    With single-token candidates one row per question is read at its end for K tokens. With longer ones every
    candidate has a row of its own, read at each place where one of its tokens is predicted.

    Args:
        ids: R sequences of token ids, `fusionscope.lvlm.IMAGE` where the image enters.
        question: int64 [R], the question of each row.
        reads: int64 [R, T], columns counted from the end of the row (-1 is its last token).
        targets: int64 [R, T, C], the tokens whose probability is read there.
        real: bool [R, T], False where a row has fewer reads than T.
        longer: bool [R], True where another candidate begins the row's: its mass is part of the other's.
        n_questions: B.
        texts: The user's turn of each question.
    """

    ids: tuple[tuple[int, ...], ...]
    question: Tensor
    reads: Tensor
    targets: Tensor
    real: Tensor
    longer: Tensor
    n_questions: int
    texts: tuple[str, ...]

    @property
    def per_question(self) -> int:
        """Rows per question."""
        return len(self.ids) // self.n_questions

    def texts_of(self, rows: Sequence[int]) -> list[str]:
        """The user's turn of each of some rows."""
        return [self.texts[int(self.question[row])] for row in rows]

    def fold(self, logprob: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of target tokens to candidates.

        Args:
            logprob: [..., B * per_question, T, C] (any number of questions).

        Returns:
            [..., B, K]: length-normalised score of each candidate, and log-probability of all its tokens, -inf where a
            shorter candidate's counts it already.
        """
        if self.per_question == 1 and logprob.shape[-2] == 1:
            return logprob[..., 0, :], logprob[..., 0, :]
        real = self.real.to(logprob.device)
        repeats = logprob.shape[-3] // real.shape[0]
        real = real.repeat(repeats, 1).unsqueeze(-1)
        total = torch.where(real, logprob, 0).sum(-2).squeeze(-1)
        mean = total / real.sum(-2).squeeze(-1)
        total = total.masked_fill(self.longer.to(total.device).repeat(repeats), -torch.inf)
        shape = (*total.shape[:-1], -1, self.per_question)
        return mean.reshape(shape), total.reshape(shape)


def build_rows(prompts: Sequence[Prompt], scoring: Scoring = "auto") -> Rows:
    """Sequences for a set of prompts with K candidates each.

    Args:
        prompts: One per question.
        scoring: ``"single"`` requires one distinct token per candidate; ``"sequence"`` scores whole candidates by the
            mean log-probability of their tokens; ``"auto"`` takes the first where it can.

    Raises:
        InputError: ``"single"`` where a candidate has several tokens, or two begin with the same; two candidates of a
            question that are the same tokens.
    """
    for prompt in prompts:
        _check_distinct(prompt)
    why = next((reason for prompt in prompts if (reason := _not_single(prompt))), None)
    if scoring == "single" and why is not None:
        raise InputError(
            why,
            "one position can only tell candidates apart that are one distinct token each",
            "ask for letters, or score whole candidates with scoring='sequence'",
        )
    if scoring == "sequence" or why is not None:
        return _sequence_rows(prompts)
    return Rows(
        ids=tuple(prompt.ids for prompt in prompts),
        question=torch.arange(len(prompts)),
        reads=torch.full((len(prompts), 1), -1),
        targets=torch.tensor([[[tail[0] for tail in prompt.candidates]] for prompt in prompts]),
        real=torch.ones(len(prompts), 1, dtype=torch.bool),
        longer=torch.zeros(len(prompts), dtype=torch.bool),
        n_questions=len(prompts),
        texts=tuple(prompt.text for prompt in prompts),
    )


def _check_distinct(prompt: Prompt) -> None:
    same = next((tail for tail in prompt.candidates if prompt.candidates.count(tail) > 1), None)
    if same is not None:
        raise InputError(
            f"two candidates of the question {prompt.text[:60]!r} are the same token ids {list(same)}",
            "no model can answer one and not the other",
            "give candidates that differ, by more than blanks",
        )


def _not_single(prompt: Prompt) -> str | None:
    long = [tail for tail in prompt.candidates if len(tail) > 1]
    if long:
        return f"a candidate of {len(long[0])} tokens, ids {list(long[0])}"
    first = [tail[0] for tail in prompt.candidates]
    return None if len(set(first)) == len(first) else f"candidates that share the token ids {first}"


def _sequence_rows(prompts: Sequence[Prompt]) -> Rows:
    pairs = [(b, prompt, tail) for b, prompt in enumerate(prompts) for tail in prompt.candidates]
    longest = max(len(tail) for _, _, tail in pairs)
    reads = torch.full((len(pairs), longest), -1)
    targets = torch.zeros(len(pairs), longest, 1, dtype=torch.long)
    real = torch.zeros(len(pairs), longest, dtype=torch.bool)
    for row, (_, _, tail) in enumerate(pairs):
        reads[row, : len(tail)] = torch.arange(-len(tail), 0)
        targets[row, : len(tail), 0] = torch.tensor(tail)
        real[row, : len(tail)] = True
    return Rows(
        ids=tuple((*prompt.ids, *tail[:-1]) for _, prompt, tail in pairs),
        question=torch.tensor([b for b, _, _ in pairs]),
        reads=reads,
        targets=targets,
        real=real,
        longer=torch.tensor([_is_longer(prompt, tail) for _, prompt, tail in pairs]),
        n_questions=len(prompts),
        texts=tuple(prompt.text for prompt in prompts),
    )


def _is_longer(prompt: Prompt, tail: tuple[int, ...]) -> bool:
    """Whether a shorter candidate begins this one."""
    return any(other == tail[: len(other)] for other in prompt.candidates if len(other) < len(tail))


def to_posteriors(score: Tensor, logprob: Tensor, fallback: float | None = None) -> tuple[Tensor, Tensor]:
    """Scores of candidates to a distribution over them.

    Args:
        score: [..., K] length-normalised log-probabilities.
        logprob: [..., K] log-probabilities of the whole candidates.
        fallback: Replace distributions whose options hold less than this mass by the uniform one (the paper's 0.3);
            None keeps them.

    Returns:
        float64 [..., K] posteriors and float64 [...] option mass in [0, 1].
    """
    mass = logprob.double().exp().sum(-1)
    posterior = score.double().softmax(-1)
    if fallback is not None:
        posterior = torch.where((mass < fallback).unsqueeze(-1), 1.0 / score.shape[-1], posterior)
    return posterior, mass
