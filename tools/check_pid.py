"""Whether the standard errors of the exact PID are honest: coverage of 95 % intervals over draws from known worlds.

    python tools/check_pid.py [--draws 500] [--out tools/benchmarks/pid_coverage_DATE.md]

Each world is a joint p(type of image, type of question, answer), so its atoms are known, and whether its dual is unique
(up to the gauge). Samples (or images and questions, uniform over types) are drawn from it, and the intervals of the
drawn design compared with the truth. Also prints where the optimum of thousands of points lies between the bounds that
merging gives. Takes about ten minutes on one core.
"""

import argparse
import datetime
import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from fusionscope.pid import (
    PIDResult,
    confidence_intervals,
    pid_crossed,
    pid_from_joint,
    pid_from_posteriors,
    subsampling_interval,
)
from fusionscope.pid.information import information_about_answer
from fusionscope.pid.tilt import tilt
from fusionscope.pid.union.cells import merge
from fusionscope.pid.union.points_path import solve_points

LEGEND = (
    "Spread: standard deviation of the estimate over draws. SE: mean standard error. 1.96 SE: coverage of the estimate",
    "plus or minus 1.96 standard errors. Interval: that of `confidence_intervals`. All: of all draws; unflagged,",
    "flagged: of those whose atom is not, and is, flagged `nonregular_<atom>`; flags: how many of the latter. A dash:",
    "under 25 draws.",
    "",
    "Flagged: a kink is within reach, or the influence function vanishes (an atom that is 0 because the other source",
    "dominates). Where most draws are flagged the others are a selection by the very estimate: they are no test of it.",
)
ATOMS = ("redundancy", "unique_vision", "unique_language", "synergy")
SIZES = {"paired": (200, 1000), "crossed": (32, 64), "crossed, random": (64, 128), "crossed, kink": (128,)}
SELDOM = 30  # % of draws flagged, under which the others are not a selection
SMOOTH = 0.05  # bits: a second difference per change of the masses under this is a curve


def worlds() -> dict[str, Tensor]:
    """Joints of types that are uniform and independent."""
    g = torch.Generator().manual_seed(0)

    def logistic(types: int, k: int, vision: float, language: float, both: float) -> Tensor:
        shapes = ((types, 1, k), (1, types, k), (types, types, k))
        scales = (vision, language, both)
        draws = [
            s * torch.randn(*shape, generator=g, dtype=torch.float64) for s, shape in zip(scales, shapes, strict=True)
        ]
        return torch.softmax(sum(draws), -1)

    def logits(*p: float) -> Tensor:
        return torch.logit(torch.tensor(p, dtype=torch.float64))

    both = 0.05 + 0.9 * (torch.arange(2)[:, None] & torch.arange(2)).double()
    # Vision: certain or blind. Language: always noisy. Where it is noisier, vision all but dominates; where it is less
    # so, the ROC curves cross and both have something of their own.
    nearly = torch.sigmoid(logits(0.02, 0.5, 0.5, 0.98)[:, None] + logits(0.2, 0.25, 0.75, 0.8))
    crossing = torch.sigmoid(logits(0.01, 0.5, 0.5, 0.5, 0.5, 0.99)[:, None] + logits(0.1, 0.15, 0.85, 0.9))
    each, half = torch.eye(4, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    # Four answers are two bits: vision knows one of them, more or less surely, language the other.
    first, second = (
        torch.cat([2 * half, 4 * half]).repeat_interleave(2, 1),
        torch.cat([2 * half, 4 * half]).repeat(1, 2),
    )
    own, mixed = (
        torch.randn(*shape, 4, generator=torch.Generator().manual_seed(2)).double() for shape in ((4,), (4, 4))
    )
    alike = 1.5 * (own[:, None] + own)
    tables = {
        "vision dominates, K=2": logistic(4, 2, 2.0, 0.5, 0.7),
        "vision nearly dominates, K=2": torch.stack([1 - nearly, nearly], -1),
        "crossing, K=2": torch.stack([1 - crossing, crossing], -1),
        "mixed, K=3": logistic(5, 3, 1.5, 1.0, 1.0),
        "mixed, K=4": logistic(6, 4, 1.5, 1.5, 1.0),
        "vision dominates, K=4": torch.softmax(
            4 * each[:, None] + each + 0.7 * torch.randn(4, 4, 4, generator=g, dtype=torch.float64), -1
        ),
        "crossing, K=4": torch.softmax(torch.cat([6 * each, 0 * each, 0 * each])[:, None] + 2.5 * each, -1),
        "a bit each, K=4": torch.softmax(
            (first[:, None] + second) + 0.5 * torch.randn(4, 4, 4, generator=g, dtype=torch.float64), -1
        ),
        "AND, softened (kink)": torch.stack([1 - both, both], -1),
        "equal channels, K=4 (kink)": torch.softmax(alike + 0.5 * (mixed + mixed.transpose(0, 1)), -1),
    }
    return {name: table / table[..., 0].numel() for name, table in tables.items()}


def random_joints(independent: bool) -> dict[str, Tensor]:
    """Random joints, the first of each size whose four atoms are all over .03 bits; of uniform types if independent."""
    joints = {}
    for k, types in ((2, 5), (3, 3), (3, 5), (4, 3), (4, 4), (4, 5)):
        seed, least = 0, 0.0
        while least < 0.03:
            g, seed = torch.Generator().manual_seed(seed), seed + 1
            # Half-normal squares are Gamma(1/2): normalised, a flat-to-corner Dirichlet distribution.
            p = torch.randn(types, types, k, generator=g, dtype=torch.float64) ** 2
            p = conditional(p) / types**2 if independent else p / p.sum()
            least = min(true_atoms(p).values())
        joints[f"random, {types} x {types}, K={k}" + ", independent" * independent] = p
    return joints


def kink_of(joint: Tensor) -> float:
    """The largest second difference of the union, bits, when masses change by fractions of a standard normal number.

    ``(I(p + e h) + I(p - e h) - 2 I(p)) / e`` at e = 1e-3 over directions h: of order e where the dual is unique up to
    the gauge, and a directional derivative's asymmetry where it is not.
    """
    h = torch.randn(32, *joint.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = 1e-3 * joint * (h - (joint * h).sum((1, 2, 3), keepdim=True))
    at = pid_from_joint(torch.stack([joint + step, joint - step, joint.expand_as(step)]), tolerance=1e-10)
    both = at.total - at.synergy
    return float((both[0] + both[1] - 2 * both[2]).abs().max()) / 1e-3


@dataclass
class Drawn:
    """What draws of one size from one world gave, by atom ``[draws]``."""

    estimate: dict[str, Tensor]
    error: dict[str, Tensor]
    flagged: dict[str, Tensor]
    low: dict[str, Tensor]
    high: dict[str, Tensor]


def drawn(decompose: Callable[[int], PIDResult], draws: int, at_once: int) -> Drawn:
    """Decomposes some draws at a time."""
    parts: dict[str, list[dict[str, Tensor]]] = {part.name: [] for part in fields(Drawn)}
    for start in range(0, draws, at_once):
        result = decompose(min(at_once, draws - start))
        ends = confidence_intervals(result)
        parts["estimate"].append(dict(result.atoms()))
        parts["error"].append({name: result.standard_errors[name] for name in ATOMS})
        parts["flagged"].append({name: result.diagnostics[f"nonregular_{name}"] > 0 for name in ATOMS})
        parts["low"].append({name: ends[name][0] for name in ATOMS})
        parts["high"].append({name: ends[name][1] for name in ATOMS})
    return Drawn(**{key: {name: torch.cat([x[name] for x in some]) for name in ATOMS} for key, some in parts.items()})


def crossed(joint: Tensor, n: int, draws: int) -> Drawn:
    """Images and questions of uniformly drawn types."""
    g = torch.Generator().manual_seed(n)

    def some(m: int) -> PIDResult:
        a, b = (torch.randint(types, (m, n), generator=g) for types in joint.shape[:2])
        return pid_crossed(conditional(joint)[a[:, :, None], b[:, None]], standard_errors=True)

    return drawn(some, draws, max(1, 2**22 // n**2))


def paired(joint: Tensor, n: int, draws: int) -> Drawn:
    """Samples of types from the joint, with exact posteriors."""
    g = torch.Generator().manual_seed(n)
    types = joint.sum(-1)
    both, vision, language = (p / p.sum(-1, keepdim=True) for p in (joint, joint.sum(1), joint.sum(0)))

    def some(m: int) -> PIDResult:
        cell = torch.multinomial(types.flatten(), m * n, replacement=True, generator=g).view(m, n)
        a, b = cell // types.shape[1], cell % types.shape[1]
        return pid_from_posteriors(both[a, b], vision[a], language[b], standard_errors=True, max_tilt=0.5)

    return drawn(some, draws, max(1, 2**20 // n))


def lines_of(title: str, found: Drawn, truth: dict[str, float]) -> list[str]:
    """One line per atom: calibration, coverage of all draws and of those flagged and not, flags."""
    lines = []
    for name in ATOMS:
        true, estimate, error = truth[name], found.estimate[name], found.error[name]
        flagged, plain = found.flagged[name], (estimate - true).abs() <= 1.96 * error
        inside = (found.low[name] <= true) & (true <= found.high[name])
        numbers = (f"{float(x):.4f}" for x in (true, estimate.mean() - true, estimate.std(), error.mean()))
        inside_of = (plain, inside, plain[~flagged], inside[~flagged], inside[flagged])
        lines.append(row(title, name, *numbers, *map(fraction, inside_of), f"{float(flagged.double().mean()):.0%}"))
    print("\n".join(lines), flush=True)
    return lines


def fraction(inside: Tensor) -> object:
    """Coverage; a dash where fewer than 25 draws are there to estimate it."""
    return float(inside.double().mean()) if len(inside) >= 25 else "-"


def true_atoms(joint: Tensor) -> dict[str, float]:
    """Exact atoms; a negative one is the solver's gap."""
    return {name: max(0.0, float(x)) for name, x in pid_from_joint(joint, tolerance=1e-8).atoms().items()}


def row(*cells: object) -> str:
    return "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


HEADER = (
    "| world | size | atom | truth | bias | spread | SE | all: 1.96 SE | all: interval | unflagged: 1.96 SE | "
    "unflagged: interval | flagged: interval | flags |"
)


def worlds_table(joints: dict[str, Tensor]) -> list[str]:
    lines = ["| world | R | U1 | U2 | S | kink, bits | dual |", "|" + "---|" * 7]
    for name, joint in joints.items():
        kink = kink_of(joint)
        atoms = (f"{x:.4f}" for x in true_atoms(joint).values())
        lines.append(row(name, *atoms, f"{kink:.1e}", "unique" if kink < SMOOTH else "not unique"))
    print("\n".join(lines), flush=True)
    return lines


def coverage_table(
    joints: dict[str, Tensor], sizes: Sequence[int], draws: int, draw: Callable[[Tensor, int, int], Drawn]
) -> list[str]:
    lines = [HEADER, "|" + "---|" * 13]
    for name, joint in joints.items():
        truth = true_atoms(joint)
        for n in sizes:
            lines += lines_of(f"{name} | {n}", draw(joint, n, draws), truth)
    return lines


def verdict(lines: list[str], smooth: set[str]) -> list[str]:
    """How many coverages of unflagged draws are between .92 and .98, and which are not, by how many draws are."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.endswith("% |")]
    regular = [row for row in cells if row[0] in smooth and float(row[3]) > 1e-3]
    report = [f"Atoms over .001 bits of worlds whose dual is unique: {len(regular)} (a world's atom at one size)."]
    for least, most in ((0, 4), (5, 29), (30, 69), (70, 94), (95, 100)):
        some = [row for row in regular if least <= flags(row) <= most]
        report.append(f"* flagged in {least} to {most} % of draws: {len(some)}")
        for column, title in ((9, "plus or minus 1.96 SE"), (10, "interval")):
            claimed = [row for row in some if row[column] != "-"]
            outside = [row for row in claimed if not 0.92 <= float(row[column]) <= 0.98]
            report.append(
                f"  * {title}, unflagged draws: {len(claimed) - len(outside)} of {len(claimed)} between .92 and .98"
            )
            report += [f"    * {row[0]}, {row[1]}, {row[2]}: {row[column]} (flags {row[12]})" for row in outside]
    kinked = [row for row in cells if row[0] not in smooth]
    low = [row for row in cells if row[11] != "-" and float(row[11]) < 0.92]
    return [
        *report,
        "",
        f"At a kink: flags {min(map(flags, kinked))} % or more, interval of flagged draws "
        f"{min(float(row[11]) for row in kinked):.3f} or more.",
        f"Flagged draws, all worlds: {len(low)} of {sum(row[11] != '-' for row in cells)} intervals cover under .92.",
        *(f"* {row[0]}, {row[1]}, {row[2]}: {row[11]} (flags {row[12]})" for row in low),
    ]


def outside(lines: list[str], smooth: set[str]) -> list[tuple[str, int]]:
    """Worlds and sizes with an atom that is seldom flagged and that an interval covers too rarely or too often."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.endswith("% |")]
    regular = [row for row in rows if row[0] in smooth and float(row[3]) > 1e-3 and flags(row) < SELDOM]
    return sorted({(row[0], int(row[1])) for row in regular if row[10] != "-" and not 0.92 <= float(row[10]) <= 0.98})


def second_check(lines: list[str], smooth: set[str], joints: dict[str, dict[str, Tensor]], draws: int) -> list[str]:
    """With other and more draws: of 500, a coverage of .95 is off by .01 by chance."""
    report = [HEADER, "|" + "---|" * 13]
    for name, n in outside(lines, smooth):
        design = "paired" if n in SIZES["paired"] else "crossed"
        draw = {"paired": paired, "crossed": crossed}[design]
        world = joints[design][name]
        report += lines_of(f"{name} | {n}", draw(world, n, draws), true_atoms(world))
    return report


def flags(row: list[str]) -> int:
    return int(row[12].rstrip("%"))


def subsampling_table(joints: dict[str, Tensor], draws: int) -> list[str]:
    lines = ["| world | n x n | R | U1 | U2 | S |", "|" + "---|" * 6]
    for name, joint in joints.items():
        truth = true_atoms(joint)
        for n in (64, 128):
            g = torch.Generator().manual_seed(n)
            a, b = (torch.randint(types, (draws, n), generator=g) for types in joint.shape[:2])
            ends = subsampling_interval(conditional(joint)[a[:, :, None], b[:, None]], n_replicates=100)
            inside = ((ends[k][0] <= truth[k]) & (truth[k] <= ends[k][1]) for k in ATOMS)
            lines.append(row(name, f"{n} ({draws})", *map(fraction, inside)))
            print(lines[-1], flush=True)
    return lines


def conditional(joint: Tensor) -> Tensor:
    return joint / joint.sum(-1, keepdim=True)


def merging_table() -> list[str]:
    """Where the raw optimum lies between the cells' optimum (0) and that plus the loss (1)."""
    lines = ["| points | cells | K | scale | loss, bits | raw optimum at |", "|" + "---|" * 6]
    for n, m, k in ((256, 64, 4), (256, 96, 4), (320, 96, 3), (400, 64, 6)):
        for scale in (1.0, 3.0):
            g = torch.Generator().manual_seed(n + m)
            w, flat = torch.full((1, n), 1.0 / n).double(), torch.full((1, k), 1.0 / k).double()
            first, second = (
                tilt(torch.softmax(scale * torch.randn(1, n, k, generator=g).double(), -1), w, flat)[0] / n
                for _ in range(2)
            )
            second = second * (first.sum(1) / second.sum(1))[:, None]
            cells = [merge(p, m)[0] for p in (first, second)]
            loss = sum(
                float(information_about_answer(p) - information_about_answer(c))
                for p, c in zip((first, second), cells, strict=True)
            )
            raw, merged = (solve_points(p, q, 1e-3) for p, q in ((first, second), cells))
            at = 0.5 * float(raw[0] + raw[1] - merged[0] - merged[1]) / loss
            lines.append(row(n, m, k, scale, loss / 0.6931, at))
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file for the tables")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    report = [
        "# Coverage of the exact PID's 95 % intervals",
        f"{datetime.date.today()}, {platform.machine()}, torch {torch.__version__}, one thread; nominal 0.95, "
        f"{args.draws} draws.",
        "",
        *LEGEND,
    ]
    known, paired_only, crossed_only = worlds(), random_joints(False), random_joints(True)
    kinked = {name: joint for name, joint in known.items() if "kink" in name}
    sections = (
        ("Worlds", lambda: worlds_table({**known, **paired_only, **crossed_only})),
        ("Paired posteriors", lambda: coverage_table({**known, **paired_only}, SIZES["paired"], args.draws, paired)),
        (
            "Crossed designs, bias corrected",
            lambda: (
                coverage_table(known, SIZES["crossed"], args.draws, crossed)
                + coverage_table(kinked, SIZES["crossed, kink"], args.draws, crossed)[2:]
                + coverage_table(crossed_only, SIZES["crossed, random"], args.draws, crossed)[2:]
            ),
        ),
        ("Crossed designs, subsampling intervals", lambda: subsampling_table(kinked, max(20, args.draws // 5))),
        ("Merging points into cells", merging_table),
    )
    for title, table in sections:
        print(f"\n## {title}", flush=True)
        report += ["", f"## {title}", "", *table()]
    smooth = {line.split("|")[1].strip() for line in report if line.endswith("| unique |")}
    judged = verdict(report, smooth)
    print("\n".join(judged))
    report += ["", "## Verdict", "", *judged]
    again = 8 * args.draws
    print(f"\n## Cells outside, {again} draws")
    joints = {"paired": {**known, **paired_only}, "crossed": {**known, **crossed_only}}
    looked = second_check(report, smooth, joints, again)
    report += [
        "",
        f"## Cells outside of .92 to .98 that are flagged in under {SELDOM} %, with {again} draws",
        "",
        *looked,
    ]
    if args.out:
        args.out.write_text("\n".join(report) + "\n")


if __name__ == "__main__":
    main()
