"""One process a device for commands that probe many checkpoints: each takes every n-th one."""

import os
import subprocess
import sys
from collections.abc import Sequence

from fusionscope.errors import ConfigError


def run_on(devices: Sequence[str], command: Sequence[str]) -> None:
    """Run a command once per device, each with its part of the checkpoints.

    Args:
        devices: ``cuda:0``, ``cuda:1`` and so on.
        command: Arguments of ``fusionscope`` without ``--device`` and ``--worker``.

    Raises:
        ConfigError: A worker stopped; what all of them wrote is kept.
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "fusionscope.cli", *command, "--device", device, "--worker", f"{i}/{len(devices)}"],
            env=os.environ.copy(),
        )
        for i, device in enumerate(devices)
    ]
    statuses = [process.wait() for process in started]
    if any(statuses):
        raise ConfigError(
            f"workers on {', '.join(devices)} ended with {statuses}",
            "a worker that fails prints its reason above",
            "correct that and run the same command: what is done is skipped",
        )


def worker_of(text: str | None) -> tuple[int, int]:
    """A worker's number and how many there are, from ``0/4``; ``(0, 1)`` where there is one process."""
    number, _, workers = (text or "0/1").partition("/")
    return int(number), int(workers)
