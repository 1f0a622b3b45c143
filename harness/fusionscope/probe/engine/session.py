"""Setting up the passes of one probe: sequences, features, batch size, progress."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fusionscope.lens import Lens
from fusionscope.lvlm import LVLM, Features
from fusionscope.parallel import is_sharded
from fusionscope.probe.engine.execution import Execution, Progress
from fusionscope.probe.engine.memory import automatic_rows
from fusionscope.probe.engine.runner import Budget, Passes
from fusionscope.probe.engine.scoring import Rows, Scoring, build_rows
from fusionscope.tasks import HeldOutTask, Question, digest_of_images

IMAGES_AT_ONCE = 32


def rows_of(lvlm: LVLM, questions: Sequence[Question], scoring: Scoring) -> Rows:
    """The sequences that score a task's questions."""
    return build_rows([lvlm.prompt(question.text, question.candidates) for question in questions], scoring)


def features_of(lvlm: LVLM, task: HeldOutTask, execution: Execution) -> list[Features]:
    """Embeddings of the task's images, fewer at a time where memory runs out."""
    keys = None if execution.feature_cache is None else digest_of_images(task.images)
    smaller = "free memory, or let the processor make the images smaller"
    budget = Budget(rows=IMAGES_AT_ONCE, alone=not is_sharded(lvlm.model), of="image", smaller=smaller)
    while True:
        features = budget.attempt(partial(lvlm.encode_images, task.images, keys, execution.feature_cache))
        if features is not None:
            return features


def prepare(
    lvlm: LVLM,
    task: HeldOutTask,
    layers: Sequence[int],
    lens: Lens,
    scoring: Scoring,
    execution: Execution,
    title: str,
) -> tuple[Rows, list[Features], Passes]:
    """What every design starts with: the questions' sequences, the images' features and the runner.

    Args:
        lvlm: The model.
        task: The task, all of whose images are encoded.
        layers: Layer numbers.
        lens: Reads the layers' answers.
        scoring: How answers are scored.
        execution: How to run.
        title: What the progress bar says.
    """
    rows = rows_of(lvlm, task.questions, scoring)
    features = features_of(lvlm, task, execution)
    longest = max(map(len, rows.ids)) + max(len(lvlm.adapter.expand(image)) for image in features)
    budget = Budget(
        rows=execution.batch_size or automatic_rows(lvlm, longest, layers),
        alone=not is_sharded(lvlm.model),
    )
    passes = Passes(
        lvlm=lvlm,
        layers=layers,
        lens=lens,
        budget=budget,
        share_prefix=execution.share_prefix,
        side=execution.padding_side,
        progress=_progress(execution.progress, title),
    )
    return rows, features, passes


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
