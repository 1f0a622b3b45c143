"""What the callbacks of all trainers are given."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from torch import nn

from fusionscope.callbacks.monitor import Monitor
from fusionscope.callbacks.schedule import Schedule
from fusionscope.errors import ConfigError
from fusionscope.probe import Execution, ProbeSpec
from fusionscope.tasks import HeldOutTask, TaskSpec


class ProbingCallback:
    """Arguments of `PIDCallback` and `PIDTrainerCallback`.

    Args:
        tasks: Held-out tasks: names, `TaskSpec`s or `HeldOutTask`s.
        model: The vision-language model inside what is trained: the module itself, or the name of its attribute
            (``"vlm"``, ``"net.vlm"``). None where it needs no name: a fusionscope stage's, or the Trainer's own model.
        processor: Its Hugging Face processor, or the name of its attribute. A fusionscope stage has it, and so has a
            Trainer with a ``processing_class``.
        schedule: When to probe.
        spec: What to measure: design, estimator, layers, laws, lens, ...
        execution: How to run: batch size; features of images are kept from probe to probe, in its ``feature_cache``
            where one is given.
        directory: Where the records go; by default the run's directory, the logger's folder or the Trainer's
            ``output_dir``. A resumed training goes on where its records are, even if their folder was renamed.
        stage: Name of the stage in the records; by default the run's stage, or the class of what is trained.
        baseline: Whether this stage comes before the training under study (such as a language model's own pretraining):
            its records are marked, and an onset is looked for after them.
        heatmap_every: Draw the heatmaps at every this many probes, and always at the end.
        progress: Show a progress bar while probing.

    Raises:
        UnknownNameError: A task, design or setting that doesn't exist.
        InputError: A setting outside its range.
        ConfigError: No tasks.
    """

    def __init__(
        self,
        tasks: Sequence[str | TaskSpec | HeldOutTask],
        *,
        model: str | nn.Module | None = None,
        processor: Any = None,
        schedule: Schedule = Schedule(every_n_steps=500, log_spaced=2.0),  # noqa: B008 (frozen)
        spec: ProbeSpec = ProbeSpec(),  # noqa: B008 (frozen)
        execution: Execution = Execution(),  # noqa: B008 (frozen)
        directory: str | None = None,
        stage: str | None = None,
        baseline: bool = False,
        heatmap_every: int = 10,
        progress: bool = True,
    ) -> None:
        self.model = model
        self.processor = processor
        self.schedule = schedule
        self.directory = directory
        self.stage = stage
        self.monitor = Monitor(
            tasks,
            spec=spec,
            execution=execution,
            baseline=baseline,
            heatmap_every=heatmap_every,
            progress=progress,
        )

    def resolve(self, trained: nn.Module, given: Any) -> Any:
        """What was given, or the attribute that it names.

        Args:
            trained: What is trained, whose attribute may be named.
            given: ``model`` or ``processor``.

        Raises:
            ConfigError: No such attribute.
        """
        if not isinstance(given, str):
            return given
        try:
            return reduce(getattr, given.split("."), trained)
        except AttributeError as error:
            raise ConfigError(
                f"{type(trained).__name__} has no attribute {given!r}",
                f"{type(self).__name__} is to find the model or the processor there",
                f"its modules are {', '.join(name for name, _ in trained.named_children()) or 'none'}",
            ) from error
