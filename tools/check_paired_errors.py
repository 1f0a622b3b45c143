"""Whether standard errors of pairs that share images and questions are honest: SE / SD and coverage over draws.

    python tools/check_paired_errors.py [--draws 600] [--out tools/benchmarks/pid_paired_errors_DATE.md]

Images and questions of known types are drawn, paired in one of several structures (each image with questions of its
own, with some of a common pool, with all of the same few), and decomposed from exact posteriors with their clusters.
Takes about half an hour on one core.
"""

import argparse
import datetime
import platform
import warnings
from pathlib import Path

import torch
from check_pid import ATOMS, conditional, true_atoms, worlds
from torch import Tensor

from fusionscope.pid import PIDResult, confidence_intervals
from fusionscope.pid.estimators import PairSample, get_estimator

SIZES = ((48, 4), (200, 6))
STRUCTURES = ("own questions", "pool of 48", "pool of 24", "same questions")
WORLDS = (
    "vision dominates, K=2",
    "crossing, K=2",
    "mixed, K=3",
    "mixed, K=4",
    "a bit each, K=4",
    "AND, softened (kink)",
)
AT_ONCE = 50
LEAST = 1e-3  # bits: an atom under this is 0 by construction, and its interval is the resolution of the solver


def structure(name: str, n_images: int, per_image: int) -> tuple[Tensor, Tensor]:
    """The image and the question of every pair."""
    images = torch.arange(n_images).repeat_interleave(per_image)
    if name == "own questions":
        return images, torch.arange(len(images))
    if name == "same questions":
        return images, torch.arange(per_image).repeat(n_images)
    pool, generator = int(name.split()[-1]), torch.Generator().manual_seed(0)
    chosen = [torch.randperm(pool, generator=generator)[:per_image] for _ in range(n_images)]
    return images, torch.cat(chosen)


def draw(joint: Tensor, images: Tensor, questions: Tensor, n: int, generator: torch.Generator) -> PairSample:
    """Independent types of every image and question, and the exact posteriors of the pairs."""
    types = [
        torch.randint(size, (n, int(units.max()) + 1), generator=generator)[:, units]
        for size, units in zip(joint.shape[:2], (images, questions), strict=True)
    ]
    return PairSample(
        joint=conditional(joint)[types[0], types[1]],
        vision=conditional(joint.sum(1))[types[0]],
        language=conditional(joint.sum(0))[types[1]],
        images=images,
        questions=questions,
    )


def decompositions(joint: Tensor, images: Tensor, questions: Tensor, draws: int) -> PIDResult:
    """All draws as one result, draws leading."""
    generator, parts = torch.Generator().manual_seed(len(images)), []
    estimator = get_estimator("exact", max_tilt=1.0)
    for start in range(0, draws, AT_ONCE):
        sample = draw(joint, images, questions, min(AT_ONCE, draws - start), generator)
        parts.append(estimator.decompose(sample, standard_errors=True))
    return _stacked(parts)


def _stacked(parts: list[PIDResult]) -> PIDResult:
    """Results one after the other along the leading dimension."""
    rest = [iter(_tensors(part)) for part in parts[1:]]
    return parts[0].map(lambda first: torch.cat([first, *(next(tensors) for tensors in rest)]))


def _tensors(result: PIDResult) -> list[Tensor]:
    """In the order in which `PIDResult.map` visits them."""
    tensors: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    result.map(keep)
    return tensors


def row(*cells: object) -> str:
    return "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |"


def rows_of(name: str, joint: Tensor, size: tuple[int, int], kind: str, draws: int) -> list[list[object]]:
    """One row an atom."""
    result, truth = decompositions(joint, *structure(kind, *size), draws), true_atoms(joint)
    ends, rows = confidence_intervals(result), []
    for atom in ATOMS:
        if truth[atom] < LEAST:
            continue
        estimate, error = getattr(result, atom), result.standard_errors[atom]
        low, high = ends[atom]
        inside = float(((low <= truth[atom]) & (truth[atom] <= high)).double().mean())
        ratio = float((error**2).mean().sqrt() / estimate.std())
        flags = float(result.diagnostics[f"nonregular_{atom}"].mean())
        excluded = int(((estimate < low) | (estimate > high)).sum())
        bias = float(estimate.mean()) - truth[atom]
        pairs = f"{size[0]} x {size[1]}"
        rows.append([name, pairs, kind, atom, truth[atom], bias, float(estimate.std()), ratio, inside, flags, excluded])
    return rows


HEADER = "| world | pairs | questions | atom | truth | bias | SD | SE / SD | coverage | flagged | estimate outside |"


def verdict(rows: list[list[object]]) -> list[str]:
    """How many rows are within .9 to 1.15 and .92 to .98, by structure."""
    lines = [
        "| questions | flagged in | atoms | SE / SD in .9 to 1.15 | coverage in .92 to .98 | median SE / SD | "
        "median coverage | lowest coverage |",
        "|" + "---|" * 8,
    ]
    for kind in STRUCTURES:
        for title, least, most in (("under 30 %", 0.0, 0.3), ("30 % or more", 0.3, 1.01)):
            some = [r for r in rows if r[2] == kind and least <= r[9] < most]
            if some:
                ratios, covers = torch.tensor([r[7] for r in some]), torch.tensor([r[8] for r in some])
                within = ((ratios >= 0.9) & (ratios <= 1.15)).sum(), ((covers >= 0.92) & (covers <= 0.98)).sum()
                lines.append(
                    row(
                        kind,
                        title,
                        len(some),
                        *map(int, within),
                        float(ratios.median()),
                        float(covers.median()),
                        float(covers.min()),
                    )
                )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=600)
    parser.add_argument("--worlds", nargs="*", default=WORLDS, help="names, see tools/check_pid.py")
    parser.add_argument("--sizes", nargs="*", type=int, default=[0, 1], help="which of the two sizes")
    parser.add_argument("--out", type=Path, default=None, help="a Markdown file for the tables")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    joints = {name: worlds()[name] for name in args.worlds}
    rows = []
    for size in [SIZES[i] for i in args.sizes]:
        for kind in STRUCTURES:
            for name, joint in joints.items():
                rows += rows_of(name, joint, size, kind, args.draws)
                print("\n".join(row(*r) for r in rows[-4:]), flush=True)
    report = [
        "# Standard errors of paired samples, clustered by image and by question",
        f"{datetime.date.today()}, {platform.machine()}, torch {torch.__version__}, one thread; {args.draws} draws.",
        "",
        "SE / SD: root mean square of the standard error by the standard deviation of the estimate. Coverage: of",
        "`confidence_intervals`, nominal .95. Atoms that are 0 by construction are left out.",
        "",
        *verdict(rows),
        "",
        HEADER,
        "|" + "---|" * 11,
        *(row(*r) for r in rows),
    ]
    print("\n".join(verdict(rows)))
    if args.out:
        args.out.write_text("\n".join(report) + "\n")


if __name__ == "__main__":
    main()
