"""Whether the standard errors of the exact PID are honest: coverage of 95 % intervals over draws from known worlds.

    python tools/check_pid.py [--draws 500] [--out tools/benchmarks/pid_coverage_DATE.md]

Each world is a table p(y | type of image, type of question), so its atoms are known. Images and questions (or samples)
are drawn from it, and the intervals of the drawn design compared with the truth. Also prints where the optimum of
thousands of points lies between the bounds that merging gives. Takes about six minutes on one core.
"""

import argparse
import datetime
import platform
import warnings
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
from fusionscope.pid.cells import merge
from fusionscope.pid.information import information_about_answer
from fusionscope.pid.points_path import solve_points
from fusionscope.pid.tilt import tilt

LEGEND = (
    "Crossed and paired: `confidence_intervals` of one result (Student's t, slope, bend). Spread: standard deviation",
    "of the estimate over draws. 1.96 SE: coverage of the symmetric interval, for comparison. Unflagged, flagged:",
    "coverage of the draws whose atom is not, and is, flagged `nonregular_<atom>`; flags: the share of the latter. A",
    "dash: under 25 draws.",
    "",
    "An interval is claimed where an atom is not flagged. Flagged: a kink is within reach, or the influence function",
    "vanishes (an atom that is 0 because the other source dominates): coverage is what it is here, mostly too much.",
)
ATOMS = ("redundancy", "unique_vision", "unique_language", "synergy")


def worlds() -> dict[str, Tensor]:
    """p(y | x1, x2) of types, uniform over types."""
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
    return {
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
    }


def drawn_crossed(world: Tensor, n: int, draws: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    a = torch.randint(world.shape[0], (draws, n), generator=g)
    b = torch.randint(world.shape[1], (draws, n), generator=g)
    return world[a[:, :, None], b[:, None]]


def held(ends: tuple[Tensor, Tensor], truth: float) -> Tensor:
    return (ends[0] <= truth) & (truth <= ends[1])


def lines_of(result: PIDResult, truth: dict[str, float]) -> list[tuple[object, ...]]:
    """One line per atom: calibration, flags, coverage of all draws and of those flagged and not."""
    intervals, lines = confidence_intervals(result), []
    for name in ATOMS:
        inside = held(intervals[name], truth[name])
        flagged = result.diagnostics[f"nonregular_{name}"] > 0
        spread, error = result.atoms()[name].std(), result.standard_errors[name].mean()
        plain = (result.atoms()[name] - truth[name]).abs() <= 1.96 * result.standard_errors[name]
        shares = (share(inside), share(inside[~flagged]), share(inside[flagged]))
        bias = float(result.atoms()[name].mean()) - truth[name]
        numbers = (f"{float(x):.4f}" for x in (truth[name], bias, spread, error))
        lines.append((name, *numbers, share(plain), *shares, f"{float(flagged.double().mean()):.0%}"))
    return lines


def share(inside: Tensor) -> object:
    """Coverage; a dash where fewer than 25 draws are there to estimate it."""
    return float(inside.double().mean()) if len(inside) >= 25 else "-"


def true_atoms(world: Tensor) -> dict[str, float]:
    """Exact atoms; a negative one is the solver's gap."""
    found = pid_from_joint(world / world[..., 0].numel(), tolerance=1e-8).atoms()
    return {name: max(0.0, float(x)) for name, x in found.items()}


def row(*cells: object) -> str:
    return "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


HEADER = "| world | size (draws) | atom | truth | bias | spread | SE | 1.96 SE | all | unflagged | flagged | flags |"


def crossed_table(draws: int) -> list[str]:
    lines = [HEADER, "|" + "---|" * 12]
    for name, world in worlds().items():
        for n in (32, 64, 128) if world.shape[-1] == 2 else (32, 64):
            some = draws if world.shape[-1] == 2 or n == 32 else min(draws, 200)
            result = pid_crossed(drawn_crossed(world, n, some, seed=n), standard_errors=True)
            lines += written(f"{name} | {n} x {n} ({some})", result, world)
    return lines


def samples_table(draws: int) -> list[str]:
    lines = [HEADER, "|" + "---|" * 12]
    for name, world in worlds().items():
        for n in (200, 1000):
            some = draws if world.shape[-1] == 2 else min(draws, 20000 // n)
            if world.shape[-1] > 2 and n > 200:
                continue
            g = torch.Generator().manual_seed(n)
            a, b = (torch.randint(size, (some, n), generator=g) for size in world.shape[:2])
            posteriors = (world[a, b], world.mean(1)[a], world.mean(0)[b])
            result = pid_from_posteriors(*posteriors, standard_errors=True, max_tilt=0.5)
            lines += written(f"{name} | {n} ({some})", result, world)
    return lines


def written(title: str, result: PIDResult, world: Tensor) -> list[str]:
    found = [f"| {title} " + row(*line) for line in lines_of(result, true_atoms(world))]
    print("\n".join(found), flush=True)
    return found


def verdict(lines: list[str]) -> list[str]:
    """How many unflagged coverages are between .92 and .98 of those estimated, and which are not."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.endswith("% |")]
    claimed = [row for row in cells if row[9] != "-"]
    outside = [row for row in claimed if not 0.92 <= float(row[9]) <= 0.98]
    held_too_rarely = [row for row in cells if row[10] != "-" and float(row[10]) < 0.92]
    never = sum(float(row[11].rstrip("%")) >= 95 for row in cells)
    return [
        f"Of {len(cells)} atoms, {never} are flagged in 95 % of the draws or more: no interval is claimed there.",
        "Not measured: paired samples with more than two answers beyond N = 200.",
        "",
        f"Unflagged atoms: {len(claimed) - len(outside)} of {len(claimed)} coverages are between .92 and .98.",
        *(f"* {row[0]}, {row[1]}, {row[2]}: {row[9]} (flags {row[11]})" for row in outside),
        "",
        f"Flagged atoms with a coverage under .92: {len(held_too_rarely)}.",
        *(f"* {row[0]}, {row[1]}, {row[2]}: {row[10]} (flags {row[11]})" for row in held_too_rarely),
    ]


def subsampling_table(draws: int) -> list[str]:
    lines = ["| world | n x n | R | U1 | U2 | S |", "|" + "---|" * 6]
    for name, world in worlds().items():
        if "kink" not in name:
            continue
        truth = true_atoms(world)
        for n in (64, 128):
            found = subsampling_interval(drawn_crossed(world, n, draws, seed=n), n_replicates=100)
            lines.append(row(name, f"{n} ({draws})", *(share(held(found[k], truth[k])) for k in ATOMS)))
            print(lines[-1], flush=True)
    return lines


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
            raw, merged = (solve_points(p[0], q[0], 1e-3) for p, q in ((first, second), cells))
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
        f"{datetime.date.today()}, {platform.machine()}, torch {torch.__version__}, one thread; nominal 0.95.",
        "",
        *LEGEND,
    ]
    for title, table in (
        ("Crossed designs, bias corrected", lambda: crossed_table(args.draws)),
        ("Paired posteriors", lambda: samples_table(args.draws)),
        ("Crossed designs, subsampling intervals", lambda: subsampling_table(max(20, args.draws // 5))),
        ("Merging points into cells", merging_table),
    ):
        print(f"\n## {title}")
        report += ["", f"## {title}", "", *table()]
    report += ["", "## Verdict", "", *verdict(report)]
    if args.out:
        args.out.write_text("\n".join(report) + "\n")


if __name__ == "__main__":
    main()
