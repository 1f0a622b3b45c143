"""Kill a run again and again, and see whether it ends as one that was left alone.

    python tools/soak.py --kills 60 [--directory DIR] [--seed 0] [--report FILE]

Trains a small edition of the three stages of the sandbox (accumulating gradients, probing, saving) once in peace, and
once while it is killed with SIGKILL at random moments: the whole process group, or `fusionscope run` alone, whose stage
must then stop by itself, or the stage alone. After every kill the same command goes on. At the end the weights of
every stage's model, the whole of every stage's last checkpoint (optimizer, loops, random streams) and every record, and
so the curves and onsets that are drawn of them, must be equal, bit for bit; costs aside. Prints what was hit where.
Exits with 1 where anything differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from fusionscope.records import read_records
from fusionscope.records.directory import LAST

ROOT = Path(__file__).parents[1]
STAGES = ("0_language", "1_align", "2_instruct")
STEPS = 24
EVERY = 4
_ASIDE = {"seconds", "tokens", "attempt", "run", "run_name", "model"}


def recipe(directory: Path) -> Path:
    """A small edition of the sandbox's recipe: 24 steps a stage of 3 micro-batches, probed and saved every 4 steps."""
    directory.mkdir(parents=True)
    for path in sorted((ROOT / "recipes" / "sandbox").glob("*.yaml")):
        stage = yaml.safe_load(path.read_text())
        stage["trainer"] |= {"accumulate_grad_batches": 3, "max_epochs": 2, "accelerator": "cpu"}
        for callback in stage["trainer"]["callbacks"]:
            callback["init_args"]["schedule"] = {"every_n_steps": EVERY, "log_spaced": 0.0}
            if "tasks" in callback["init_args"]:
                callback["init_args"]["tasks"] = [{"name": "sandbox/synergy", "settings": {"images": 48}}]
        data = stage["data"]["init_args"]
        data["batch_size"] = 4
        if "steps" in data:
            data |= {"steps": STEPS * 3 // 2, "exam_scenes": 24}
        else:
            data["train"]["init_args"]["n"] = STEPS * 3 * 4 // 2
            data["validation"]["init_args"]["n"] = 16
        (directory / path.name).write_text(yaml.safe_dump(stage, sort_keys=False))
    return directory


def start(recipe: Path, run: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fusionscope.cli", "run", str(recipe), "--run-dir", str(run)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with log.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)


def progress(run: Path) -> float:
    """How far a run has come, in steps over all stages, by what it has saved."""
    saved = 0
    for stage in STAGES:
        files = list((run / stage / "checkpoints").glob("step=*.ckpt"))
        saved += max((int(path.stem.removeprefix("step=")) for path in files), default=0)
    return saved


def situation(run: Path) -> str:
    """What a run was doing when it was killed, from what it left."""
    stage = next((name for name in reversed(STAGES) if (run / name).is_dir()), "before any stage")
    folder = run / stage / "checkpoints"
    if any(folder.glob(".*.part")):
        return f"{stage}: while saving"
    if not (folder / LAST).exists():
        return f"{stage}: before its first checkpoint"
    if (run / stage / "model").is_dir():
        return f"{stage}: exporting, or starting what follows"
    return f"{stage}: training or probing"


def stage_of(process: subprocess.Popen[bytes]) -> int | None:
    """Process id of the stage that `fusionscope run` has started, if there is one."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    pids = children.read_text().split() if children.exists() else []
    return int(pids[0]) if pids else None


def kill(process: subprocess.Popen[bytes], how: str) -> None:
    stage = stage_of(process)
    if how == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif how == "stage" and stage is not None:
        os.kill(stage, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    until = time.monotonic() + 60
    while stage is not None and Path(f"/proc/{stage}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    if stage is not None and Path(f"/proc/{stage}").exists():
        raise SystemExit(f"the stage {stage} outlived the run that started it by a minute ({how})")


def soak(recipe: Path, run: Path, kills: int, generator: random.Random) -> Counter[str]:
    """Train to the end through a number of kills; returns what was hit, how often."""
    hits: Counter[str] = Counter()
    targets = sorted(generator.uniform(-2, STEPS * len(STAGES)) for _ in range(kills))
    for number, target in enumerate(targets, start=1):
        process = start(recipe, run, run.with_suffix(".log"))
        while progress(run) < target - EVERY and process.poll() is None:
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 12.0 if target < 0 or generator.random() < 0.3 else 2.0))
        if process.poll() is not None:
            hits["had ended"] += 1
            continue
        how = generator.choice(("group", "run", "stage"))
        what = situation(run)
        kill(process, how)
        hits[f"{what} ({how})"] += 1
        print(f"kill {number}/{kills} at step {progress(run)}: {what} ({how})", flush=True)
    process = start(recipe, run, run.with_suffix(".log"))
    if process.wait():
        raise SystemExit(f"the last start ended with {process.returncode}; see {run.with_suffix('.log')}")
    return hits


def differences(one: Path, other: Path) -> list[str]:
    """Where two runs differ."""
    wrong = []
    for stage in STAGES:
        a, b = (load_file(run / stage / "model" / "model.safetensors") for run in (one, other))
        wrong += [f"{stage}: weight {name}" for name in a if not torch.equal(a[name], b[name])]
        states = (torch.load(run / stage / "checkpoints" / LAST, weights_only=True) for run in (one, other))
        wrong += [f"{stage}: {LAST} {place}" for place in unequal(*states)]
    a, b = (records(run) for run in (one, other))
    wrong += [f"record {key}" for key in sorted(a.keys() ^ b.keys())]
    wrong += [f"record {key}: {a[key]}\n  and {b[key]}" for key in sorted(a.keys() & b.keys()) if a[key] != b[key]]
    return wrong


def unequal(a: Any, b: Any, place: str = "") -> list[str]:
    """Places at which two nested states differ, times aside."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [
            key for key in {**a, **b} if str(key) not in {"cost", "base", "settings"} and "PIDCallback" not in str(key)
        ]
        return [hit for key in keys for hit in unequal(a.get(key), b.get(key), f"{place}/{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [hit for i, pair in enumerate(zip(a, b, strict=True)) for hit in unequal(*pair, f"{place}/{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if torch.equal(a, b) else [place]
    return [] if a == b else [f"{place} ({a} and {b})"]


def records(run: Path) -> dict[tuple[str, ...], str]:
    """What counts of a run's records, by place: costs, and names of runs, attempts and models aside."""
    rows = [{name: value for name, value in vars(record).items() if name not in _ASIDE} for record in read_records(run)]
    places = ("stage", "step", "task", "variant", "layer")
    return {tuple(str(row[name]) for name in places): json.dumps(row, default=str, sort_keys=True) for row in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--directory", type=Path, help="where to run; kept (default: a temporary one, removed)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path, help="a Markdown file to write the table to")
    options = parser.parse_args()
    directory = options.directory or Path(tempfile.mkdtemp(prefix="soak"))
    stages = recipe(directory / "recipe")
    begin = time.monotonic()
    if start(stages, directory / "peace", directory / "peace.log").wait():
        raise SystemExit(f"the run without kills failed; see {directory / 'peace.log'}")
    hits = soak(stages, directory / "killed", options.kills, random.Random(options.seed))
    wrong = differences(directory / "peace", directory / "killed")
    text = table(hits, wrong, options, time.monotonic() - begin)
    print(text)
    if options.report:
        options.report.write_text(text)
    if options.directory is None:
        shutil.rmtree(directory)
    return 1 if wrong else 0


def table(hits: Counter[str], wrong: list[str], options: argparse.Namespace, seconds: float) -> str:
    lines = [
        f"# {options.kills} kills of a run of three stages, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"`python tools/soak.py --kills {options.kills} --seed {options.seed}`, {seconds:.0f} s.",
        "Killed: the process group, `fusionscope run` alone (its stage stops by itself), or the stage alone.",
        "",
        "| what was hit | times |",
        "|---|---|",
        *(f"| {what} | {count} |" for what, count in sorted(hits.items())),
        "",
        "Weights, last checkpoints, records: " + ("equal to those of a run left alone." if not wrong else "DIFFERENT"),
        *(f"* {what}" for what in wrong[:50]),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
