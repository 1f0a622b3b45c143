"""How runs stop: exit codes, seconds, and what was lost, for every way of asking.

    python tools/check_stops.py [--directory DIR] [--ranks 1 2] [--report FILE]

Starts a stage of the sandbox through `fusionscope run`, in one process and in two ranks (DDP), waits until it trains,
asks it to stop, and measures until every process is gone. After each the same command goes on to the end, and the
weights must be those of a run that was left alone. Exits with 1 where a process stays, a stop takes more than 30 s, an
exit code is not the documented one (`fusionscope.cli.signals`), or a step is lost.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from fusionscope.sandbox.model import write

ROOT = Path(__file__).parents[1]
LIMIT = 30.0


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of asking.

    Args:
        name: What a person does.
        signal: The signal.
        to: ``"run"`` (kill PID), ``"group"`` (a terminal's Ctrl-C), or ``"all"`` (scancel --full).
        times: How often.
        code: The exit code that is documented.
        slurm: Whether under SLURM.
    """

    name: str
    signal: int
    to: str = "run"
    times: int = 1
    code: int = 75
    slurm: bool = False


WAYS = (
    Way(name="kill PID (TERM)", signal=signal.SIGTERM),
    Way(name="Ctrl-C (INT to the group)", signal=signal.SIGINT, to="group"),
    Way(name="terminal closed (HUP to the group)", signal=signal.SIGHUP, to="group"),
    Way(name="scancel --full (TERM to every process)", signal=signal.SIGTERM, to="all"),
    Way(name="SLURM's warning (USR1 to every process)", signal=signal.SIGUSR1, to="all", slurm=True),
    Way(name="kill PID twice", signal=signal.SIGTERM, times=2, code=143),
    Way(name="Ctrl-C twice", signal=signal.SIGINT, to="group", times=2, code=130),
    Way(name="kill -9 PID (of fusionscope run alone)", signal=signal.SIGKILL, code=-9),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one."""

    name: str
    ranks: int
    code: int
    seconds: float
    kept: str
    good: bool


def recipe(directory: Path, ranks: int, steps: int) -> Path:
    """One stage that saves at its start and end alone: what a stop keeps is what the stop has saved."""
    base = write(directory / "base", seed=0)
    stage = yaml.safe_load((ROOT / "recipes" / "sandbox" / "1_align.yaml").read_text())
    stage["trainer"] |= {"accelerator": "cpu", "devices": ranks, "strategy": "ddp" if ranks > 1 else "auto"}
    stage["trainer"]["accumulate_grad_batches"] = 2
    saving = stage["trainer"]["callbacks"][1]
    saving["init_args"]["schedule"] = {"every_n_steps": 0}
    stage["trainer"]["callbacks"] = [saving]
    stage["model"]["init_args"]["model"] = str(base)
    data = stage["data"]["init_args"]
    data["batch_size"] = 8 // ranks
    data["train"]["init_args"]["n"] = steps * 16
    data["validation"]["init_args"]["n"] = 16
    (directory / "recipe").mkdir()
    (directory / "recipe" / "align.yaml").write_text(yaml.safe_dump(stage, sort_keys=False))
    return directory / "recipe"


def environment(directory: Path, slurm: bool) -> dict[str, str]:
    bin_ = directory / "bin"
    bin_.mkdir(exist_ok=True)
    (bin_ / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {directory / "requeued"}\n')
    (bin_ / "scontrol").chmod(0o755)
    env = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{bin_}:{os.environ['PATH']}"}
    return env | {"SLURM_JOB_ID": "42", "SLURM_JOB_NAME": "bash"} if slurm else env


def start(recipe: Path, run: Path, slurm: bool = False) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fusionscope.cli", "run", str(recipe), "--run-dir", str(run)]
    with run.with_suffix(".log").open("ab") as log:
        env = environment(recipe.parent, slurm)
        return subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)


def processes(group: int) -> list[int]:
    """The processes of a group, by /proc."""
    alive = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                alive.append(int(entry.name))
    return alive


def wait_until_training(run: Path, process: subprocess.Popen[bytes], seconds: float = 300) -> None:
    """Until the first checkpoint of this start is there, and some steps later."""
    begin, first = time.time(), run / "align" / "checkpoints" / "last.ckpt"
    while not first.exists() and process.poll() is None and time.time() - begin < seconds:
        time.sleep(0.02)
    time.sleep(1.0)
    if process.poll() is not None:
        raise SystemExit(f"{run} ended before it was asked; see {run.with_suffix('.log')}")


def ask(way: Way, group: int) -> None:
    for number in range(way.times):
        if number:
            time.sleep(0.3)
        if way.to == "run":
            os.kill(group, way.signal)
        elif way.to == "group":
            os.killpg(group, way.signal)
        else:
            for pid in processes(group):
                os.kill(pid, way.signal)


def attempt(way: Way, ranks: int, recipe: Path, whole: Path) -> Outcome:
    """Ask one run to stop, and go on with it."""
    run = recipe.parent / f"{ranks}-{way.name.split('(')[0].strip().replace(' ', '-').replace('/', '')}"
    process = start(recipe, run, way.slurm)
    wait_until_training(run, process)
    begin = time.monotonic()
    ask(way, process.pid)
    code = process.wait()
    while processes(process.pid) and time.monotonic() - begin < 2 * LIMIT:
        time.sleep(0.02)
    seconds, left = time.monotonic() - begin, processes(process.pid)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    log = run.with_suffix(".log").read_text()
    kept = next((line for line in log.splitlines() if "Stopped after step" in line), "the last save")
    stopped = "Stopped after step" in log
    again = start(recipe, run).wait()
    same = again == 0 and equal(whole, run)
    requeued = not way.slurm or (recipe.parent / "requeued").read_text() == "requeue 42\n"
    polite = way.times > 1 or stopped
    good = code == way.code and seconds < LIMIT and not left and same and polite and requeued
    if "KeyboardInterrupt" in log or "Traceback" in log:
        good, kept = False, f"{kept}; a traceback"
    return Outcome(
        name=way.name + (", requeued once" if way.slurm and requeued else ""),
        ranks=ranks,
        code=code,
        seconds=seconds,
        kept=kept.partition(",")[0].replace("Stopped after", "saved after")
        + ("" if same else "; NOT EQUAL at the end"),
        good=good,
    )


def twice(ranks: int, recipe: Path) -> Outcome:
    """The same command while the first still runs."""
    run = recipe.parent / f"{ranks}-twice"
    first = start(recipe, run)
    wait_until_training(run, first)
    begin = time.monotonic()
    second = start(recipe, run).wait()
    seconds = time.monotonic() - begin
    code = first.wait()
    said = f"is in use by process {first.pid}" in run.with_suffix(".log").read_text()
    kept = f"names process and host; the first ends with {code}"
    good = second == 2 and code == 0 and said
    return Outcome(
        name="a second start in the same directory", ranks=ranks, code=second, seconds=seconds, kept=kept, good=good
    )


def equal(one: Path, other: Path) -> bool:
    a, b = (load_file(run / "align" / "model" / "model.safetensors") for run in (one, other))
    return all(torch.equal(value, b[name]) for name, value in a.items())


def table(outcomes: list[Outcome]) -> str:
    lines = [
        f"# How runs stop, {datetime.now(UTC):%Y-%m-%d}",
        "",
        "`python tools/check_stops.py`: seconds from the signal until every process is gone. Afterwards the same",
        "command goes on, and the weights at the end are compared with those of a run left alone.",
        "",
        "| asked by | ranks | exit code | seconds | kept | |",
        "|---|---|---|---|---|---|",
        *(
            f"| {o.name} | {o.ranks} | {o.code} | {o.seconds:.1f} | {o.kept} | {'ok' if o.good else 'WRONG'} |"
            for o in outcomes
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=150, help="optimizer steps of the stage")
    parser.add_argument("--only", help="ways whose name holds this")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="stops"))
    for number in (signal.SIGINT, signal.SIGHUP):  # nohup and `&` have them ignored, and runs that inherit that obey it
        signal.signal(number, signal.SIG_DFL)
    outcomes = []
    for ranks in options.ranks:
        place = directory / str(ranks)
        place.mkdir(parents=True)
        stages = recipe(place, ranks, options.steps)
        if start(stages, place / "whole").wait():
            raise SystemExit(f"the run that is left alone failed; see {place / 'whole.log'}")
        for way in WAYS:
            if not options.only or options.only in way.name:
                (place / "requeued").unlink(missing_ok=True)
                # a run killed with -9 says nothing; its stage stops by itself
                outcomes.append(attempt(way, ranks, stages, place / "whole"))
                print(outcomes[-1], flush=True)
        if not options.only or options.only in "second":
            outcomes.append(twice(ranks, stages))
            print(outcomes[-1], flush=True)
    text = table(outcomes)
    print(text)
    if options.report:
        options.report.write_text(text)
    return 0 if all(outcome.good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
