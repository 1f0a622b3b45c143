"""What the measure panel costs beside the probe that it belongs to.

    python tools/bench_measures.py MODEL_DIRECTORY [--out tools/benchmarks/measures_DATE.md]

MODEL_DIRECTORY is an exported model of the sandbox (tools/demo.sh trains one): the smallest model there is, so that of
any other the panel takes a smaller part.
"""

import argparse
import datetime
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from fusionscope.lvlm import LVLM
from fusionscope.pid.estimators import GridSample
from fusionscope.pid.measures import MEASURES, measure_panel
from fusionscope.probe import ProbeSpec, posteriors, probe
from fusionscope.tasks import load_task

SIZES = (48, 576)
PANELS = (tuple(MEASURES), ("I_min", "I_MMI", "I_SX"))
REPEATS = 3


def cpu_seconds(work: Callable[[], object]) -> float:
    """The mean of some runs after a first one."""
    work()
    start = time.process_time()
    for _ in range(REPEATS):
        work()
    return (time.process_time() - start) / REPEATS


def rows_of(lvlm: LVLM, n_images: int) -> list[str]:
    """One row a panel."""
    task = load_task("sandbox/synergy", images=n_images)
    whole = cpu_seconds(lambda: probe(lvlm, task, ProbeSpec(laws="uniform")))
    sample = GridSample(conditionals=posteriors(lvlm, task).conditionals)
    shape = " x ".join(map(str, sample.conditionals.shape))
    rows = []
    for names in PANELS:
        spent = cpu_seconds(lambda names=names: measure_panel(sample, names))  # type: ignore[misc]
        rows.append(f"| {shape} | {whole:.3f} | {', '.join(names)} | {spent:.4f} | {spent / whole:.1%} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file for the table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lvlm = LVLM.from_pretrained(args.model)
    lines = [
        "# Measures beside a probe of the sandbox's model",
        f"{datetime.date.today()}, {platform.machine()}, torch {torch.__version__}, CPU seconds of one thread.",
        "",
        "| layers x images x questions x answers | probe | measures | panel | part |",
        "|---|---|---|---|---|",
    ]
    for n_images in SIZES:
        lines += rows_of(lvlm, n_images)
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
