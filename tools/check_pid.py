"""Whether the standard errors of the exact PID are honest: coverage of 95 % intervals over draws from known worlds.

    python tools/check_pid.py [--draws 500] [--out tools/benchmarks/pid_coverage_DATE.md]

Each world is a table p(y | type of image, type of question), so its atoms are known. Images and questions (or samples)
are drawn from it, and the intervals of the drawn design compared with the truth. Also prints where the optimum of
thousands of points lies between the bounds that merging gives. Takes about five minutes on one core.
"""

import argparse
import datetime
import platform
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor

from fusionscope.pid import pid_crossed, pid_from_joint, pid_from_posteriors, subsampling_interval
from fusionscope.pid.cells import merge
from fusionscope.pid.information import information_about_answer
from fusionscope.pid.points_path import solve_points
from fusionscope.pid.tilt import tilt

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

    both = 0.05 + 0.9 * (torch.arange(2)[:, None] & torch.arange(2)).double()
    # Vision: certain or blind. Language: always noisy. Their ROC curves cross, so that both have unique information.
    vision, language = torch.tensor([0.02, 0.5, 0.5, 0.98]), torch.tensor([0.2, 0.25, 0.75, 0.8])
    odds = torch.logit(vision.double())[:, None] + torch.logit(language.double())
    crossing = torch.sigmoid(odds)
    return {
        "vision dominates, K=2": logistic(4, 2, 2.0, 0.5, 0.7),
        "crossing, K=2": torch.stack([1 - crossing, crossing], -1),
        "mixed, K=3": logistic(5, 3, 1.5, 1.0, 1.0),
        "mixed, K=4": logistic(6, 4, 1.5, 1.5, 1.0),
        "AND, softened (kink)": torch.stack([1 - both, both], -1),
    }


def drawn_crossed(world: Tensor, n: int, draws: int, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    a = torch.randint(world.shape[0], (draws, n), generator=g)
    b = torch.randint(world.shape[1], (draws, n), generator=g)
    return world[a[:, :, None], b[:, None]]


def coverage(estimate: dict[str, Tensor], errors: dict[str, Tensor], truth: dict[str, float]) -> dict[str, float]:
    """Share of draws whose interval holds the truth; a thousandth of a bit is allowed for, where nothing varies."""
    return {
        name: float(((estimate[name] - truth[name]).abs() <= 1.96 * errors[name] + 1e-3).double().mean())
        for name in ATOMS
    }


def row(*cells: object) -> str:
    return "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


def crossed_table(draws: int) -> list[str]:
    lines = ["| world | n x n | R | U1 | U2 | S | SE(S) / spread | flagged | kink ratio | s |", "|" + "---|" * 10]
    for name, world in worlds().items():
        truth = {k: float(v) for k, v in pid_from_joint(world / world.shape[0] / world.shape[1]).atoms().items()}
        for n in (32, 64, 128) if world.shape[-1] == 2 else (32, 64):
            some = draws if world.shape[-1] == 2 or n == 32 else min(draws, 200)
            start = time.process_time()
            result = pid_crossed(drawn_crossed(world, n, some, seed=n), standard_errors=True)
            seconds = time.process_time() - start
            covered = coverage(result.atoms(), dict(result.standard_errors), truth)
            calibrated = float(result.standard_errors["synergy"].mean() / result.synergy.std())
            flagged, ratio = (float(result.diagnostics[key].mean()) for key in ("nonregular", "kink_ratio"))
            lines.append(row(name, f"{n} ({some})", *covered.values(), calibrated, flagged, ratio, f"{seconds:.1f}"))
            print(lines[-1], flush=True)
    return lines


def samples_table(draws: int) -> list[str]:
    lines = ["| world | N | R | U1 | U2 | S | SE(S) / spread | flagged | kink ratio |", "|" + "---|" * 9]
    for name, world in worlds().items():
        if world.shape[-1] > 2:
            continue
        truth = {k: float(v) for k, v in pid_from_joint(world / world.shape[0] / world.shape[1]).atoms().items()}
        for n in (200, 1000):
            g = torch.Generator().manual_seed(n)
            a, b = (torch.randint(size, (draws, n), generator=g) for size in world.shape[:2])
            result = pid_from_posteriors(
                world[a, b], world.mean(1)[a], world.mean(0)[b], standard_errors=True, max_tilt=0.5
            )
            covered = coverage(result.atoms(), dict(result.standard_errors), truth)
            calibrated = float(result.standard_errors["synergy"].mean() / result.synergy.std())
            flagged, ratio = (float(result.diagnostics[key].mean()) for key in ("nonregular", "kink_ratio"))
            lines.append(row(name, f"{n} ({draws})", *covered.values(), calibrated, flagged, ratio))
            print(lines[-1], flush=True)
    return lines


def subsampling_table(draws: int) -> list[str]:
    lines = ["| world | n x n | R | U1 | U2 | S |", "|" + "---|" * 6]
    for name, world in worlds().items():
        if world.shape[-1] > 2:
            continue
        truth = {k: float(v) for k, v in pid_from_joint(world / world.shape[0] / world.shape[1]).atoms().items()}
        for n in (64, 128):
            p = drawn_crossed(world, n, draws, seed=n)
            interval = subsampling_interval(p, n_replicates=200)
            held = [
                float(((low - 1e-3 <= truth[k]) & (truth[k] <= high + 1e-3)).double().mean())
                for k in ATOMS
                for low, high in [interval[k]]
            ]
            lines.append(row(name, f"{n} ({draws})", *held))
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
    ]
    for title, table in (
        ("Crossed designs, bias corrected, estimate +- 1.96 standard errors", lambda: crossed_table(args.draws)),
        ("Paired posteriors, estimate +- 1.96 standard errors", lambda: samples_table(args.draws)),
        ("Crossed designs, subsampling intervals", lambda: subsampling_table(max(20, args.draws // 2))),
        ("Merging points into cells", merging_table),
    ):
        print(f"\n## {title}")
        report += ["", f"## {title}", "", *table()]
    if args.out:
        args.out.write_text("\n".join(report) + "\n")


if __name__ == "__main__":
    main()
