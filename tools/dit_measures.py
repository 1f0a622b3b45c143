"""Golden values of the measure panel from dit: its gates, and random joints.

    pip install dit==2.3
    python tools/dit_measures.py tests/pid/measures/dit.json

dit is an oracle, no dependency: it takes seconds a measure where ours takes microseconds, and on larger alphabets it
does not end. Joints are written as outcomes and probabilities; where dit ends with an error the value is null.
"""

import argparse
import json
import signal
import time
import warnings
from pathlib import Path

import dit
import numpy as np
from dit.pid import PID_CCS, PID_MMI, PID_SX, PID_WB, PID_dep
from dit.pid.distributions import bivariates

MEASURES = {"I_min": PID_WB, "I_MMI": PID_MMI, "I_CCS": PID_CCS, "I_dep": PID_dep, "I_SX": PID_SX}
SHAPES = [(2, 2, 2), (2, 3, 2), (3, 2, 3), (3, 3, 2), (2, 2, 3)] * 4
PATIENCE = 60  # seconds a measure and joint


def outcomes_of(distribution: dit.Distribution) -> list[tuple[list[int], float]]:
    """Outcomes as numbers from 0, with their probabilities."""
    if distribution.is_log():
        distribution.set_base("linear")
    columns = list(zip(*distribution.outcomes, strict=True))
    number = [{symbol: i for i, symbol in enumerate(sorted(set(column)))} for column in columns]
    return [
        ([number[axis][symbol] for axis, symbol in enumerate(outcome)], float(p))
        for outcome, p in zip(distribution.outcomes, distribution.pmf, strict=True)
        if p > 0
    ]


def random_joint(shape: tuple[int, int, int], seed: int) -> dit.Distribution:
    """A full joint of Gamma(1/2) masses."""
    generator = np.random.default_rng(seed)
    p = generator.gamma(0.5, size=shape)
    outcomes = ["".join(map(str, index)) for index in np.ndindex(shape)]
    return dit.Distribution(outcomes, (p / p.sum()).flatten())


class TooSlow(Exception):
    """dit did not end."""


def _give_up(*_: object) -> None:
    raise TooSlow


def redundancy(measure: type, distribution: dit.Distribution) -> tuple[list[float] | None, float]:
    """R, U1, U2, S in bits, None where dit gives none, and the seconds it took."""
    start = time.perf_counter()
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(PATIENCE)
    try:
        pid = measure(distribution)
        atoms = [float(pid[node]) for node in (((0,), (1,)), ((0,),), ((1,),), ((0, 1),))]
    except (TooSlow, dit.exceptions.ditException, FloatingPointError, ValueError):
        atoms = None
    finally:
        signal.alarm(0)
    usable = atoms is not None and all(np.isfinite(atoms))
    return (atoms if usable else None), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    joints = dict(bivariates)
    joints |= {f"random {i} {'x'.join(map(str, shape))}": random_joint(shape, i) for i, shape in enumerate(SHAPES)}
    rows, seconds = [], dict.fromkeys(MEASURES, 0.0)
    for name, distribution in joints.items():
        atoms = {}
        for measure, kind in MEASURES.items():
            atoms[measure], took = redundancy(kind, distribution.copy())
            seconds[measure] += took
        rows.append({"name": name, "outcomes": outcomes_of(distribution.copy()), "atoms": atoms})
        print(name, atoms, flush=True)
    print({measure: round(value, 1) for measure, value in seconds.items()}, "seconds of dit")
    golden = {"dit": dit.__version__, "seconds": seconds, "joints": rows}
    args.out.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
