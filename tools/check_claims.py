"""Whether what a report and a running training claim holds together: false claims, coverage, power, cost.

    python tools/check_claims.py [--runs 500] [--old REVISION] [--out tools/benchmarks/claims_DATE.md]
    python tools/check_claims.py --calibrate        # the table of fusionscope.records.onset_null, printed

Noise is Gaussian, of standard deviation 1 and first-order autoregressive; everything is seeded. With ``--old`` the rule
of an earlier revision is read from git and run on part of the same curves. Takes some minutes on one core.
"""

import argparse
import datetime
import math
import platform
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusionscope.records import Record
from fusionscope.records.change_point import Change, change_point, cleaned
from fusionscope.records.live import OnsetWatch
from fusionscope.records.onset import phases
from fusionscope.records.onset_null import P_VALUES
from fusionscope.records.ramps import fit
from fusionscope.records.simultaneous import marks, student_quantile
from fusionscope.study.comparison import Row, family_strategies, task_regimes

Floats = NDArray[np.float64]
Rule = Callable[[Floats, Floats], Change]
SIZES = (8, 10, 12, 16, 24, 32, 48, 64, 96)
LAYERS, STEPS = 13, 20
OLD_RUNS = {20: 200, 40: 150, 150: 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--old", help="a revision in git whose rule of onsets runs beside")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--calibrate", action="store_true")
    options = parser.parse_args()
    if options.calibrate:
        print("\n".join(calibration()))
        return
    lines = []
    for line in report(options.runs, old_rule(options.old) if options.old else None, options.old or ""):
        print(line, flush=True)
        lines.append(line)
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def report(runs: int, old: Rule | None, revision: str) -> Iterator[str]:
    today = datetime.datetime.now(tz=datetime.UTC).date()
    yield f"# Claims that hold together, {today}"
    yield ""
    yield f"`python tools/check_claims.py --runs {runs}{f' --old {revision}' if old else ''}`, {platform.machine()},"
    yield f"Python {platform.python_version()}, numpy {np.__version__}. Noise: Gaussian, autoregressive of order 1."
    for section in (maps(runs), onsets(runs, old), live(max(20, runs // 8)), profiles(runs), depth(50), cost(old)):
        yield ""
        yield from section


def maps(runs: int) -> Iterator[str]:
    """Some false mark on a map whose cells are all zero."""
    yield f"## A null map of {LAYERS} layers and {STEPS} steps ({runs} maps; neighbours correlate .9, .5)"
    yield ""
    yield "| rule | maps with a false claim |"
    yield "|---|---|"
    generator = np.random.default_rng(0)
    cells = [record(layer, step) for layer in range(LAYERS) for step in range(STEPS)]
    noise = [map_noise(generator) for _ in range(runs)]
    marked = [
        marks(
            [replace(cell, synergy=float(value)) for cell, value in zip(cells, of_map.ravel(), strict=True)], "synergy"
        )
        for of_map in noise
    ]
    yield f"| marks of a page (Bonferroni over 4 such maps at 1 %) | {np.mean([m.any() for m in marked]):.3f} |"
    alone = student_quantile(1 - 0.025 / noise[0].size, math.inf)
    yield f"| Bonferroni over this map at 5 %, two-sided | {np.mean([np.abs(m).max() > alone for m in noise]):.3f} |"
    yield f"| pointwise 95 % intervals | {np.mean([np.abs(m).max() > 1.96 for m in noise]):.3f} |"
    gaussian, student = max_t(min(runs, 300), generator)
    yield f"| max-t, Gaussian multipliers, 48 images | {gaussian:.3f} |"
    yield f"| max-t, with Student's quantile of the same probability, 48 images | {student:.3f} |"
    yield ""
    yield "Max-t takes each image's influence on every cell, which records of earlier steps do not hold: not shipped."


def max_t(runs: int, generator: np.random.Generator, images: int = 48) -> tuple[float, float]:
    """Fractions of null maps on which the largest t exceeds its multiplier quantile, and that on Student's scale."""
    gaussian = student = 0
    for _ in range(runs):
        influences = np.stack([map_noise(generator).ravel() for _ in range(images)])
        means, errors = influences.mean(0), influences.std(0, ddof=1) / math.sqrt(images)
        scaled = (influences - means) / errors / images
        drawn = np.abs(generator.standard_normal((500, images)) @ scaled).max(1)
        quantile = float(np.quantile(drawn, 0.95))
        largest = np.abs(means / errors).max()
        gaussian += largest > quantile
        beyond = 0.5 * math.erfc(quantile / math.sqrt(2))
        student += largest > student_quantile(1 - beyond, images - 1.0)
    return gaussian / runs, student / runs


def onsets(runs: int, old: Rule | None) -> Iterator[str]:
    """False onsets, coverage and power of one curve by itself at 1 %."""
    yield f"## Onsets of one curve, tested at 1 % ({runs} curves a row)"
    yield ""
    yield "False onsets with standard errors that are the noise's deviation, unknown, or that of its fresh part alone."
    yield ""
    yield "| probes | correlation | SE known | SE unknown | SE of the fresh part | last probe raised by 8 SD |"
    yield "|---|---|---|---|---|---|"
    for probes in (20, 40, 150):
        for correlation in (0.0, 0.5, 0.9):
            yield false_onsets(runs, probes, correlation)
    yield ""
    beside = ", beside the old rule (fewer curves)" if old else ""
    yield f"Power, and how often the 95 % interval of an onset found holds the true step{beside}:"
    yield ""
    yield "| probes | correlation | rise (SE) | found | interval holds | median width |" + (
        " old found | old holds |" if old else ""
    )
    yield "|---|---|---|---|---|---|" + ("---|---|" if old else "")
    for probes in (20, 40, 150):
        for correlation in (0.0, 0.5, 0.9):
            for height in (2, 5):
                yield power(runs, probes, correlation, height, old)


def false_onsets(runs: int, probes: int, correlation: float) -> str:
    noise = curves(runs, probes, correlation, np.random.default_rng([probes, int(10 * correlation)]))
    last = noise.copy()
    last[:, -1] += 8
    rates = [
        np.mean([change_point(curve, np.full(probes, error)).index is not None for curve in tried])
        for tried, error in ((noise, 1.0), (noise, 0.0), (noise, math.sqrt(1 - correlation**2)), (last, 1.0))
    ]
    return f"| {probes} | {correlation} | " + " | ".join(f"{rate:.3f}" for rate in rates) + " |"


def power(runs: int, probes: int, correlation: float, height: int, old: Rule | None) -> str:
    generator = np.random.default_rng([probes, int(10 * correlation), height])
    begin = generator.integers(int(0.3 * probes), int(0.8 * probes), runs)
    tried = curves(runs, probes, correlation, generator) + height * (np.arange(probes) >= begin[:, None])
    found, holds, width = judged(change_point, tried, begin)
    row = f"| {probes} | {correlation} | {height} | {found:.2f} | {holds:.2f} | {width:.0f} |"
    if old is None:
        return row
    few = min(runs, OLD_RUNS[probes])
    found, holds, _ = judged(old, tried[:few], begin[:few])
    return row + f" {found:.2f} | {holds:.2f} |"


def judged(rule: Rule, tried: Floats, begin: NDArray[np.int64]) -> tuple[float, float, float]:
    """How often a rule finds an onset, how often its interval then holds the true one, and its median width."""
    changes = [rule(curve, np.ones(len(curve))) for curve in tried]
    pairs = [(change, k) for change, k in zip(changes, begin, strict=True) if change.index is not None]
    if not pairs:
        return 0.0, math.nan, math.nan
    holds = [change.low <= k <= change.high for change, k in pairs]
    return len(pairs) / len(changes), float(np.mean(holds)), float(np.median([c.high - c.low for c, _ in pairs]))


def live(runs: int) -> Iterator[str]:
    """False alarms at any time of runs in which nothing rises."""
    yield f"## Alarms of a running training: at most 5 % of the runs ({runs} runs of 4 tasks, 120 probes)"
    yield ""
    yield "| correlation | runs with a false alarm at any time |"
    yield "|---|---|"
    for correlation in (0.0, 0.5, 0.9):
        generator = np.random.default_rng(int(10 * correlation))
        alarms = sum(alarmed(curves(4, 120, correlation, generator)) for _ in range(runs))
        yield f"| {correlation} | {alarms / runs:.3f} |"


def alarmed(tasks: Floats) -> bool:
    watch = OnsetWatch()
    return any(
        watch.update([record(LAYERS - 1, step, float(value), task=str(i)) for i, value in enumerate(values)])
        for step, values in enumerate(tasks.T)
    )


def profiles(runs: int) -> Iterator[str]:
    """Verdicts over models of pure noise."""
    yield f"## Profiles of noise ({runs} profiles, 4 tasks, families of 2 or 3 models)"
    yield ""
    yield "| models | a task has a verdict | a family has one | either | the task rule alone, without the test |"
    yield "|---|---|---|---|---|"
    for models in (3, 10, 26):
        generator = np.random.default_rng(models)
        found = np.array([verdicts(models, generator) for _ in range(runs)])
        task, family, alone = found.mean(0)
        yield f"| {models} | {task:.3f} | {family:.3f} | {found[:, :2].any(1).mean():.3f} | {alone:.3f} |"


def verdicts(models: int, generator: np.random.Generator) -> tuple[bool, bool, bool]:
    rows = [
        Row(
            model=str(i),
            family=str(i // (2 if models < 26 else 3)),
            parameters=1e9,
            record=replace(
                record(0, 0, generator.normal(), task=task),
                unique_language=generator.normal(),
                accuracy=generator.random(),
            ),
        )
        for task in ("a", "b", "c", "d")
        for i in range(models)
    ]
    tasks = task_regimes(rows, resamples=2, permutations=499)
    families = family_strategies(rows, permutations=499)
    return (
        any(task.verdict != "undecided" for task in tasks),
        any(family.verdict not in ("undecided", "mixed") for family in families),
        tasks[0].rule != "undecided",
    )


def depth(runs: int) -> Iterator[str]:
    """Standard errors of what the middle layers add, against the deviation of it, where layers correlate .95."""
    yield f"## Phases of depth: layers correlate .95 ({runs} runs of 20 and 40 probes, 9 layers)"
    yield ""
    yield "| probes | standard error / true deviation, median | as if layers were independent |"
    yield "|---|---|---|"
    for steps in (20, 40):
        generator = np.random.default_rng(steps)
        ratios = []
        for _ in range(runs):
            shared, alone = generator.standard_normal((steps, 1)), generator.standard_normal((steps, 9))
            values = math.sqrt(0.95) * shared + math.sqrt(0.05) * alone
            history = [
                replace(record(layer, step, float(value)), n_layers=8)
                for step, row in enumerate(values)
                for layer, value in enumerate(row)
            ]
            last = [each for each in history if each.step == steps - 1]
            ratios.append([phases(last, atom="synergy", history=h)[1].error for h in (history, ())])
        known, independent = np.median(ratios, axis=0) / math.sqrt(true_variance())
        yield f"| {steps} | {known:.2f} | {independent:.2f} |"


def true_variance() -> float:
    """Of the gain between 20 and 80 % of 8 layers, read between layers 1 and 2 and between 6 and 7."""
    weights = np.zeros(9)
    weights[[1, 2, 6, 7]] = [-0.4, -0.6, 0.6, 0.4]
    return float(0.05 * (weights**2).sum() + 0.95 * weights.sum() ** 2)


def cost(old: Rule | None) -> Iterator[str]:
    """Seconds of the watch per probe of 4 tasks and 33 layers, along a run of 1,000 probes."""
    yield "## Cost per probe of the watch (4 tasks x 33 layers), mean over the probes named"
    yield ""
    yield "| probes | milliseconds |"
    yield "|---|---|"
    generator = np.random.default_rng(0)
    watch, seconds = OnsetWatch(), []
    for step in range(1000):
        fresh = [
            replace(record(layer, step, float(generator.normal()), task=str(task)), n_layers=32)
            for task in range(4)
            for layer in range(33)
        ]
        begin = time.perf_counter()
        watch.update(fresh)
        seconds.append(time.perf_counter() - begin)
    for first, last in ((1, 50), (51, 100), (451, 550), (901, 1000)):
        yield f"| {first} to {last} | {1000 * np.mean(seconds[first - 1 : last]):.2f} |"
    yield ""
    yield "| test of one curve of ... probes | milliseconds |" + (" old |" if old else "")
    yield "|---|---|" + ("---|" if old else "")
    for probes in (20, 50, 300, 1000):
        yield f"| {probes} | {timed(change_point, probes, 10):.1f} |" + (
            f" {timed(old, probes, 1):.0f} |" if old and probes <= 300 else (" not tried |" if old else "")
        )


def timed(rule: Rule, probes: int, times: int) -> float:
    curve = np.random.default_rng(1).normal(size=probes) + 3.0 * (np.arange(probes) >= probes // 2)
    rule(curve[:20], np.ones(20))
    change_point(curve, np.ones(probes))  # its shapes are made once
    begin = time.perf_counter()
    for _ in range(times):
        rule(curve, np.ones(probes))
    return 1000 * (time.perf_counter() - begin) / times


def calibration(draws: int = 40_000) -> Iterator[str]:
    """Quantiles of the score in noise, at the worst of the correlations up to .9."""
    for probes in SIZES:
        quantiles = []
        for i, correlation in enumerate((0.0, 0.3, 0.5, 0.7, 0.8, 0.9)):
            generator = np.random.default_rng([probes, i])
            scores = [fit(cleaned(curves(500, probes, correlation, generator))).score() for _ in range(draws // 500)]
            quantiles.append(np.quantile(np.concatenate(scores), 1 - np.array(P_VALUES)))
        yield f"    {probes}: ({', '.join(f'{score:.2f}' for score in np.max(quantiles, axis=0))}),"


def curves(runs: int, probes: int, correlation: float, generator: np.random.Generator) -> Floats:
    """Stationary noise of deviation 1, float64 [runs, probes]."""
    noise = generator.standard_normal((probes, runs))
    noise[1:] *= math.sqrt(1 - correlation**2)
    for i in range(1, probes):
        noise[i] += correlation * noise[i - 1]
    return noise.T.copy()


def map_noise(generator: np.random.Generator) -> Floats:
    """A map of deviation 1 whose neighbours correlate .9 along layers and .5 along steps."""
    steps = curves(STEPS, LAYERS, 0.9, generator).T
    along = steps.copy()
    for i in range(1, STEPS):
        along[:, i] = 0.5 * along[:, i - 1] + math.sqrt(0.75) * steps[:, i]
    return along


def record(layer: int, step: int, synergy: float = 0.0, *, task: str = "t") -> Record:
    """One with a standard error of 1."""
    return Record(
        run="r",
        run_name="r",
        step=step,
        stage="s",
        stage_step=step,
        task=task,
        variant="v",
        design="crossed",
        law="uniform",
        estimator="exact",
        layer=layer,
        n_layers=LAYERS - 1,
        redundancy=0.0,
        unique_vision=0.0,
        unique_language=0.0,
        synergy=synergy,
        total=synergy,
        union_lower=0.0,
        union_upper=0.0,
        converged=True,
        n=1,
        n_images=1,
        n_questions=1,
        standard_errors={"synergy": 1.0},
    )


def old_rule(revision: str) -> Rule:
    """The rule of an earlier revision, with a tenth of its permutations and bootstraps of curves."""
    file = f"{revision}:harness/fusionscope/records/change_point.py"
    text = subprocess.run(["git", "show", file], capture_output=True, text=True, check=True).stdout
    module = types.ModuleType("old_change_point")
    sys.modules[module.__name__] = module
    exec(compile(text, file, "exec"), module.__dict__)
    rule = module.change_point
    return lambda values, errors: rule(values, errors, permutations=199, bootstraps=100)


if __name__ == "__main__":
    main()
