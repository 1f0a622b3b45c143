"""Open-ended questions: the candidates are what the model itself says, grouped; Y is the group.

A closed set of answers is what information about Y needs. Instead of inventing one, answers are sampled from the model,
strings that differ in case, articles or punctuation become one group, and every group is then scored for every pair by
its most common form.

Shapes: N conversations, V vocabulary.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fusionscope.errors import InputError
from fusionscope.lvlm import LVLM, Features, stack, undisturbed
from fusionscope.probe.designs.noise import seed_of
from fusionscope.probe.engine.execution import Execution
from fusionscope.probe.engine.runner import expanded
from fusionscope.probe.engine.session import features_of
from fusionscope.tasks import HeldOutTask, Question

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_SIGNS = re.compile(r"[^\w\s]|_")


def normalised(answer: str) -> str:
    """Case, articles, punctuation and blanks taken away.

    >>> normalised(" The red  circle.")
    'red circle'
    """
    return " ".join(_ARTICLES.sub(" ", _SIGNS.sub(" ", answer.lower())).split())


def open_ended(
    lvlm: LVLM,
    task: HeldOutTask,
    *,
    n_pairs: int = 64,
    samples: int = 4,
    max_candidates: int = 8,
    max_new_tokens: int = 8,
    temperature: float = 1.0,
    seed: int = 0,
) -> HeldOutTask:
    """The task with the model's own answers as candidates of every question.

    The right answers are not among what is known then: ``truth`` is None and accuracies are NaN. Probe the result with
    ``scoring="sequence"``, which ``"auto"`` chooses by itself where an answer has several tokens.

    Args:
        lvlm: The model.
        task: Its images and questions are kept, its candidates are not.
        n_pairs: Pairs that are asked.
        samples: Answers sampled for each.
        max_candidates: The most frequent groups that are kept.
        max_new_tokens: Length of an answer.
        temperature: Of the sampling.
        seed: Of pairs and answers; the global random state is not used.

    Raises:
        InputError: The model says fewer than two different things.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = task.pairs[torch.randint(len(task.pairs), (n_pairs,), generator=generator)].tolist()
    with undisturbed(lvlm.model):
        images = features_of(lvlm, task, Execution())
        said = [
            answer
            for n, (a, b) in enumerate(pairs)
            for answer in _sample(
                lvlm, images[a], task.questions[b], samples, max_new_tokens, temperature, seed_of(seed, n)
            )
        ]
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in said:
        if key := normalised(answer):
            groups[key][answer.strip()] += 1
    kept = sorted(groups, key=lambda key: (-groups[key].total(), key))[:max_candidates]
    if len(kept) < 2:
        raise InputError(
            f"task {task.name!r}: the model says {len(kept)} different thing(s) in {len(said)} answers",
            "information about Y needs at least two",
            "ask more pairs (n_pairs=), sample more (samples=) or hotter (temperature=), or give candidates",
        )
    candidates = tuple(groups[key].most_common(1)[0][0] for key in kept)
    return replace(
        task,
        name=f"{task.name}+open",
        questions=[replace(question, candidates=candidates) for question in task.questions],
        answers=tuple(kept),
        truth=None,
        pair_answers=torch.full_like(task.pair_answers, -1),
    )


def _sample(
    lvlm: LVLM, image: Features, question: Question, samples: int, length: int, temperature: float, seed: int
) -> list[str]:
    """Answers of one conversation, sampled side by side until the model ends them."""
    prompt = expanded(lvlm.prompt(question.text, [question.candidates[0]]).ids, lvlm.adapter.expand(image))
    rows = [list(prompt) for _ in range(samples)]
    generator = torch.Generator().manual_seed(seed)
    ends = _ends(lvlm)
    ended = [False] * samples
    for _ in range(length):
        drawn = torch.multinomial(
            (_next(lvlm, image, question, rows, len(prompt)) / temperature).softmax(-1), 1, generator=generator
        )
        for i, token in enumerate(drawn[:, 0].tolist()):
            ended[i] = ended[i] or token in ends
            rows[i].append(token)
        if all(ended):
            break
    answers = []
    for row in rows:
        tail = row[len(prompt) :]
        stop = next((i for i, token in enumerate(tail) if token in ends), len(tail))
        answers.append(lvlm.tokenizer.decode(tail[:stop], skip_special_tokens=True))
    return answers


def _next(lvlm: LVLM, image: Features, question: Question, rows: Sequence[Sequence[int]], begin: int) -> Tensor:
    """Logits of the next token, float32 [N, V] on the CPU."""
    batch = stack(
        rows,
        [lvlm.adapter.positions(row, image) for row in rows],
        pad_id=lvlm.adapter.pad_id,
        images=[image] * len(rows),
        answers=torch.full((len(rows),), begin),
        texts=[question.text] * len(rows),
    )
    hidden = lvlm.read(batch, [lvlm.n_layers], torch.full((len(rows), 1), -1))[lvlm.n_layers]
    return lvlm.head(lvlm.final_norm(hidden))[:, 0].float().cpu()


def _ends(lvlm: LVLM) -> set[int]:
    """Tokens that end a turn."""
    configured = getattr(getattr(lvlm.adapter.model, "generation_config", None), "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    return {int(token) for token in (*listed, lvlm.tokenizer.eos_token_id) if token is not None}
