"""The sandbox recipe, shrunk to seconds: same classes, same keys, fewer steps."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHRINK = (
    (r"tasks: \[.*\]", "tasks: [{name: sandbox/synergy, settings: {images: 144}}, sandbox/redundant]"),
    (r"steps: 300", "steps: 6"),
    (r"n: 6400", "n: 48"),
    (r"n: 11520", "n: 48"),
    (r"n: 512", "n: 16"),
    (r"batch_size: 64", "batch_size: 8"),
    (r"exam_scenes: 192", "exam_scenes: 8"),
    (r"every_n_steps: \d+", "every_n_steps: 3"),
    (r"log_spaced: 2.0", "log_spaced: 0.0"),
    (r"warmup_steps: \d+", "warmup_steps: 1"),
)


@pytest.fixture
def recipe(tmp_path) -> Path:
    folder = tmp_path / "short"
    folder.mkdir()
    for path in (ROOT / "recipes" / "sandbox").glob("*.yaml"):
        text = path.read_text()
        for pattern, small in SHRINK:
            text = re.sub(pattern, small, text)
        (folder / path.name).write_text(text)
    return folder


def fusionscope(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The real command line, in a process of its own."""
    command = [sys.executable, "-m", "fusionscope.cli", *map(str, arguments)]
    env = {key: value for key, value in os.environ.items() if not key.startswith("PL_")} | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)


@pytest.fixture(name="fusionscope")
def _fusionscope():
    return fusionscope
