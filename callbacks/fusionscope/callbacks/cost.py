"""What probing costs a run, in tokens and in time."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from fusionscope.probe import ProbeResult


class Cost:
    """Tokens and seconds of a stage's probes, and their share of the stage's time.

    Seconds are those that training waits: passes through the model, solving, writing records and drawing.

    >>> cost = Cost()
    >>> cost.probes, cost.tokens, cost.seconds, cost.elapsed = 4, 8_000, 2.0, 100.0
    >>> str(cost)
    '4 probes took 8,000 tokens and 2.0 s, 2.0% of 100 s; 2,000 tokens and 0.50 s a probe'
    """

    def __init__(self) -> None:
        self.probes, self.tokens = 0, 0
        self.seconds, self.elapsed = 0.0, 0.0
        self._since: float | None = None

    def begin(self) -> None:
        """Start the clock of the stage; a resumed stage's goes on from where it was saved."""
        self._since = time.perf_counter()

    def end(self) -> None:
        """Stop the clock of the stage."""
        self.elapsed = self._now()
        self._since = None

    @contextmanager
    def clocked(self) -> Iterator[None]:
        """Count the seconds of a block as a probe's."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start

    def add(self, results: Iterable[ProbeResult]) -> None:
        """Count one moment's probes of all tasks as one; layers and weights of a task share its passes."""
        self.probes += 1
        self.tokens += sum({result.task: result.tokens for result in results}.values())

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run's cost is the whole run's."""
        return {"probes": self.probes, "tokens": self.tokens, "seconds": self.seconds, "elapsed": self._now()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)

    def _now(self) -> float:
        return self.elapsed + (0.0 if self._since is None else time.perf_counter() - self._since)

    def __str__(self) -> str:
        elapsed, probes = max(self._now(), 1e-9), max(self.probes, 1)
        return (
            f"{self.probes} probes took {self.tokens:,} tokens and {self.seconds:.1f} s, "
            f"{self.seconds / elapsed:.1%} of {elapsed:.0f} s; "
            f"{self.tokens / probes:,.0f} tokens and {self.seconds / probes:.2f} s a probe"
        )
