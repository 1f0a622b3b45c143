"""Whether identified intervals hold: coverage over draws of natural pairs from worlds whose decomposition is known.

    python tools/check_designs.py [--draws 200] [--only NAME ...] [--out tools/benchmarks/identified_coverage_DATE.md]

Every world is a table p(answer | image, question) with a law of pairs, so that its atoms are known by enumeration. A
few questions of a few images are drawn from it, as benchmarks come, and the intervals of
`fusionscope.pid.identified.identified_pid` compared with the truth; beside them what the plug-in, means over the drawn
pairs in the place of unimodal posteriors, says. Takes some ten minutes on one core for each family of worlds.
"""

import argparse
import datetime
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusionscope.pid.identified import QUANTITIES, IdentifiedPID, identified_pid
from fusionscope.pid.identified.exact import union_of
from fusionscope.pid.information import NATS_TO_BITS, information_about_answer

LEGEND = (
    "Truth, and medians over draws of both ends of the 95 % interval and of its width, bits. Identified: median width",
    "of the identified part alone. Holds: how often the interval comes within .01 bits of the truth; strictly: how",
    "often it holds the truth to 1e-6. Outside: intervals that exclude their own estimate. Plug-in: mean over draws.",
)
NEAR = 0.01
SHORT = {
    "redundancy": "R",
    "unique_vision": "U1",
    "unique_language": "U2",
    "synergy": "S",
    "information_vision": "I1",
    "information_language": "I2",
    "total": "I",
    "union": "I*",
}
Arguments = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Checkpoints of one world, and how pairs are drawn from it.

    Args:
        name: Printed.
        labels: Of the checkpoints.
        truth: By quantity, bits [checkpoints].
        draw: Arguments of ``identified_pid``; posteriors are [draws at once, checkpoints, N, K].
        at_once: How many draws one call gives: the same questions of other images.
    """

    name: str
    labels: tuple[str, ...]
    truth: dict[str, Tensor]
    draw: Callable[[torch.Generator], Arguments]
    at_once: int = 1


def uniform(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def truth_of(p_CABK: Tensor, weights_AB: Tensor) -> dict[str, Tensor]:
    """The decomposition of tables under a law of pairs, bits."""
    joint = p_CABK * weights_AB[..., None]
    return decomposition(joint.flatten(1, 2), joint.sum(2), joint.sum(1))


def decomposition(both: Tensor, first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """Quantities in bits of joint masses [C, N, K], [C, A, K] and [C, B, K]."""
    union = union_of(first, second).value_L
    total, vision, language = (information_about_answer(x) for x in (both, first, second))
    nats = {
        "redundancy": vision + language - union,
        "unique_vision": union - language,
        "unique_language": union - vision,
        "synergy": total - union,
        "total": total,
        "information_vision": vision,
        "information_language": language,
        "union": union,
    }
    return {name: NATS_TO_BITS * value for name, value in nats.items()}


def plug_in(arguments: Arguments) -> dict[str, Tensor]:
    """What means over the drawn pairs say, [draws at once, checkpoints]."""
    p = arguments["joint"]
    flat = p.reshape(-1, *p.shape[-2:]) / p.shape[-2]
    sides = []
    for name in ("images", "questions"):
        index = torch.unique(arguments[name], return_inverse=True)[1]
        sides.append(flat.new_zeros(len(flat), int(index.max()) + 1, flat.shape[-1]).index_add(1, index, flat))
    return {name: x.reshape(p.shape[:-2]) for name, x in decomposition(flat, *sides).items()}


def some_questions(n: int, of: int, each: int, generator: torch.Generator) -> Tensor:
    """For every image, different questions of a list: [n, each]."""
    return uniform(n, of, generator=generator).argsort(1)[:, :each]


# The sandbox: two-by-two scenes of shapes and colours, asked for the colour of a shape (in two ways) or of a thing.


def sandbox_tables() -> tuple[tuple[str, ...], Tensor]:
    """p(colour | scene, question) of three checkpoints, [3, 576, 12, 4]."""
    g = torch.Generator().manual_seed(0)
    orders = torch.tensor(list(permutations(range(4))))
    shapes, colours = orders.repeat_interleave(24, 0), orders.repeat(24, 1)
    colour_of_shape = torch.zeros(576, 4, dtype=torch.int64).scatter(1, shapes, colours)
    things = torch.arange(4).expand(576, 4)
    answer = torch.cat([colour_of_shape, colour_of_shape, things], 1)
    right = torch.nn.functional.one_hot(answer, 4).double()
    is_thing = (torch.arange(12) >= 8).double()[:, None]
    tables = []
    for vision, knowledge, noise in ((0.0, 4.5, 0.3), (1.8, 4.5, 0.8), (5.0, 5.0, 0.8)):
        strength = vision + (knowledge - vision) * is_thing
        habits = 0.5 * normal(12, 4, generator=g) + 0.3 * normal(576, 1, 4, generator=g)
        logits = strength * right + habits + noise * normal(576, 12, 4, generator=g)
        tables.append(logits.softmax(-1))
    return ("stage 0", "step 120", "end"), torch.stack(tables)


def sandbox_worlds() -> Iterator[World]:
    labels, p = sandbox_tables()
    truth = truth_of(p, torch.full((576, 12), 1 / (576 * 12), dtype=torch.float64))
    at_once = 1
    for n, each in ((200, 1), (200, 2), (200, 3), (200, 6), (400, 6)):

        def draw(generator: torch.Generator, n: int = n, each: int = each) -> Arguments:
            question = some_questions(n, 12, each, generator)
            image = torch.randint(576, (at_once, n, 1), generator=generator)
            return {
                "joint": p[:, image, question].movedim(0, 1).flatten(2, 3),
                "images": torch.arange(n).repeat_interleave(each),
                "questions": question.flatten(),
                "questions_available": torch.full((n * each,), 12.0),
                "questions_enumerated": True,
            }

        yield World(f"sandbox, {n} images x {each} questions of 12", labels, truth, draw, at_once)


# POPE: six yes-or-no questions an image, three of objects that are there.


def pope_tables(images: int, seed: int) -> tuple[tuple[str, ...], Tensor, Tensor]:
    """p(yes | image, object) of four models [4, images, 80], and which objects are there."""
    g = torch.Generator().manual_seed(seed)
    common = -4.0 + 4.5 * uniform(80, generator=g) ** 3
    scene, kind = normal(images, 3, generator=g), 0.8 * normal(80, 3, generator=g)
    chance = (common + scene @ kind.T - 0.5).sigmoid()
    there = uniform(images, 80, generator=g) < chance
    likeliest = chance.topk(3, dim=1).indices
    there = torch.where((there.sum(1) < 3)[:, None], there | torch.zeros_like(there).scatter(1, likeliest, True), there)
    standing = (common - common.mean()) / common.std()
    habits = normal(80, generator=g) + 0.8 * standing + 0.4 * normal(images, 1, generator=g)
    tables = []
    for strength, noise in ((0.0, 0.3), (1.6, 0.8), (3.0, 0.8), (4.5, 0.8)):
        logits = habits + strength * (2 * there.double() - 1) + noise * normal(images, 80, generator=g)
        tables.append(logits.sigmoid())
    p = torch.stack(tables)
    law = pope_law(there)
    right = [float((law * ((x > 0.5) == there)).sum()) for x in p]
    return tuple(f"{100 * x:.0f} % right" for x in right), p, there


def pope_law(there: Tensor) -> Tensor:
    """Half of an image's questions ask for an object that is there, each as often, half for one that is not."""
    there = there.double()
    return (there / there.sum(1, keepdim=True) + (1 - there) / (1 - there).sum(1, keepdim=True)) / (2 * len(there))


def yes_no(p: Tensor) -> Tensor:
    return torch.stack([1 - p, p], -1)


def three_of_each(there: Tensor, generator: torch.Generator) -> Tensor:
    """Three objects that are there and three that are not, of every image, [images, 6]."""
    key = uniform(*there.shape, generator=generator)
    return torch.cat([(key + 2 * there).topk(3, dim=1).indices, (key - 2 * there).topk(3, dim=1).indices], 1)


def pope_population() -> Iterator[World]:
    labels, p, there = pope_tables(4000, seed=0)
    truth = truth_of(yes_no(p), pope_law(there))
    stratum = torch.tensor([1, 1, 1, 0, 0, 0])
    count = there.sum(1, keepdim=True).double()
    for n in (48, 200, 500):

        def draw(generator: torch.Generator, n: int = n) -> Arguments:
            image = torch.randint(len(there), (n,), generator=generator)
            question = three_of_each(there[image], generator)
            available = torch.cat([count[image].expand(-1, 3), 80 - count[image].expand(-1, 3)], 1)
            return {
                "joint": yes_no(p[:, image[:, None], question]).flatten(1, 2)[None],
                "images": torch.arange(n).repeat_interleave(6),
                "questions": question.flatten(),
                "strata": stratum.repeat(n),
                "questions_available": available.flatten(),
                "questions_enumerated": True,
            }

        yield World(f"POPE, population law, {n} images", labels, truth, draw)


def pope_benchmark() -> Iterator[World]:
    total = 500
    labels, p, there = pope_tables(total, seed=1)
    question = three_of_each(there, torch.Generator().manual_seed(2))
    weights = torch.zeros(total, 80, dtype=torch.float64).scatter(1, question, 1 / (6 * total))
    truth = truth_of(yes_no(p), weights)
    asked = torch.bincount(question.flatten(), minlength=80)
    for n in (48, 200, 500):

        def draw(generator: torch.Generator, n: int = n) -> Arguments:
            image = torch.randperm(total, generator=generator)[:n]
            return {
                "joint": yes_no(p[:, image[:, None], question[image]]).flatten(1, 2)[None],
                "images": image.repeat_interleave(6),
                "questions": question[image].flatten(),
                "law": "benchmark",
                "images_total": total,
                "images_available": asked[question[image]].flatten(),
            }

        yield World(f"POPE, benchmark law of {total} images, {n} run", labels, truth, draw)


# Worlds that are hard on predictors: one question an image, and what an image's features tell is not a line.


def hostile_worlds() -> Iterator[World]:
    for answers in (2, 4):
        for name, make in (("image-only exclusive or", exclusive_or), ("nonlinear embedding", nonlinear)):
            yield unique_pairs(f"hostile, {name}, K={answers}, 200 unique pairs", answers, make)
    yield few_questions()


def exclusive_or(n: int, answers: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Classes by the parity of pairs of bits, and an embedding of the bits."""
    width = 2 * (answers // 2)
    bits = torch.randint(2, (n, width), generator=generator)
    axes = normal(width, 64, generator=torch.Generator().manual_seed(7))
    parity = bits.reshape(n, -1, 2).sum(-1) % 2
    label = (parity * 2 ** torch.arange(parity.shape[1])).sum(1)
    return label, (2.0 * bits.double() - 1) @ axes + 0.8 * normal(n, 64, generator=generator)


def nonlinear(n: int, answers: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Classes by sign and size of two latent numbers, and a bent embedding of them."""
    z = normal(n, 2, generator=generator)
    label = (z.prod(1) > 0).long() + (2 * (z.square().sum(1) > 1.386).long() if answers == 4 else 0)
    axes = normal(2, 64, generator=torch.Generator().manual_seed(7))
    return label, (1.5 * z @ axes + 0.5).tanh() + 0.05 * normal(n, 64, generator=generator)


def unique_pairs(name: str, answers: int, make: Callable[..., tuple[Tensor, Tensor]]) -> World:
    """The answer is the image's, up to noise, and no question occurs twice: I2, U2, S and R are 0."""
    n = 200

    def posteriors(label: Tensor) -> Tensor:
        return 0.96 * torch.nn.functional.one_hot(label, answers).double() + 0.04 / answers

    row = posteriors(torch.tensor([0]))[0]
    information = torch.log(torch.tensor(float(answers))) + (row * row.log()).sum()
    full = NATS_TO_BITS * information[None]
    truth = {
        key: full if key in ("unique_vision", "total", "information_vision", "union") else 0 * full for key in SHORT
    }

    def draw(generator: torch.Generator) -> Arguments:
        label, features = make(n, answers, generator)
        return {
            "joint": posteriors(label)[None, None],
            "images": torch.arange(n),
            "questions": torch.arange(n),
            "features_vision": features,
            "features_language": normal(n, 16, generator=generator),
        }

    return World(name, ("",), truth, draw)


def few_questions() -> World:
    """Four answers, questions that are a sample and asked of many images, both embeddings nonlinear."""
    g = torch.Generator().manual_seed(3)
    images, questions = 1500, 1500
    first, second = (nonlinear(n, 4, g)[0] for n in (images, questions))
    one_hot = torch.nn.functional.one_hot
    logits = (
        1.5 * one_hot(first, 4)[:, None] + 2.0 * one_hot(second, 4) + 2.0 * one_hot((first[:, None] + second) % 4, 4)
    )
    p = (logits + 0.7 * normal(images, questions, 4, generator=g)).softmax(-1)
    truth = truth_of(p[None], torch.full((images, questions), 1 / (images * questions), dtype=torch.float64))
    n, each, listed, at_once = 200, 4, 60, 2

    def draw(generator: torch.Generator) -> Arguments:
        chosen = torch.randperm(questions, generator=generator)[:listed]
        index = some_questions(n, listed, each, generator)
        image = uniform(at_once, images, generator=generator).argsort(1)[:, :n, None]
        return {
            "joint": p[image, chosen[index]].flatten(1, 2)[:, None],
            "images": torch.arange(n).repeat_interleave(each),
            "questions": index.flatten(),
        }

    return World("hostile, K=4, 200 images x 4 of 60 sampled questions", ("",), truth, draw, at_once)


# Strata: images of three kinds, each asked all questions of its kind.


def strata_worlds() -> Iterator[World]:
    g = torch.Generator().manual_seed(4)
    images, kinds, each = 1500, 3, 6
    for answers in (2, 4):
        kind = torch.arange(images) % kinds
        offset = normal(kinds, each, answers, generator=g)
        logits = 0.6 * normal(images, 1, answers, generator=g) + 1.2 * offset[kind]
        p = (logits + 1.5 * normal(images, each, answers, generator=g)).softmax(-1)
        table = torch.zeros(images, kinds * each, answers, dtype=torch.float64)
        column = kind[:, None] * each + torch.arange(each)
        table[torch.arange(images)[:, None], column] = p
        weights = torch.zeros(images, kinds * each, dtype=torch.float64).scatter(1, column, 1 / (images * each))
        truth = truth_of(table[None], weights)
        n, at_once = 150, 10

        def draw(
            generator: torch.Generator, p: Tensor = p, column: Tensor = column, n: int = n, at_once: int = at_once
        ) -> Arguments:
            of_kind = torch.arange(n) % kinds
            image = kinds * torch.randint(images // kinds, (at_once, n), generator=generator) + of_kind
            return {
                "joint": p[image].flatten(1, 2)[:, None],
                "images": torch.arange(n).repeat_interleave(each),
                "questions": column[of_kind].flatten(),
                "questions_available": torch.full((n * each,), float(each)),
                "questions_enumerated": True,
            }

        yield World(f"strata of 6 questions, K={answers}, {n} images", ("",), truth, draw, at_once)


FAMILIES: dict[str, Callable[[], Iterator[World]]] = {
    "sandbox": sandbox_worlds,
    "pope-population": pope_population,
    "pope-benchmark": pope_benchmark,
    "hostile": hostile_worlds,
    "strata": strata_worlds,
}


def measure(world: World, draws: int) -> tuple[list[IdentifiedPID], list[dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(0)
    results, plain = [], []
    for _ in range(0, draws, world.at_once):
        arguments = world.draw(generator)
        results.append(identified_pid(**arguments))
        plain.append(plug_in(arguments))
    return results, plain


def table(world: World, results: list[IdentifiedPID], plain: list[dict[str, Tensor]]) -> list[str]:
    lines = []
    for name in QUANTITIES:
        low, high, inner_low, inner_high, middle = (
            torch.cat([getattr(result, part)[name] for result in results])
            for part in ("lower", "upper", "identified_lower", "identified_upper", "estimate")
        )
        for i, label in enumerate(world.labels):
            truth = float(world.truth[name][i])
            holds = (low[:, i] - NEAR <= truth) & (truth <= high[:, i] + NEAR)
            strictly = (low[:, i] - 1e-6 <= truth) & (truth <= high[:, i] + 1e-6)
            outside = (middle[:, i] < low[:, i]) | (middle[:, i] > high[:, i])
            numbers = (
                f"{truth:.4f}",
                f"{float(low[:, i].median()):.4f}",
                f"{float(high[:, i].median()):.4f}",
                f"{float((high - low)[:, i].median()):.4f}",
                f"{float((inner_high - inner_low)[:, i].median()):.4f}",
                f"{float(holds.double().mean()):.3f}",
                f"{float(strictly.double().mean()):.3f}",
                f"{int(outside.sum())}",
                f"{float(torch.cat([x[name] for x in plain])[:, i].mean()):.4f}",
            )
            lines.append(f"| {world.name} | {label} | {SHORT[name]} | " + " | ".join(numbers) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200, help="of every world (200)")
    parser.add_argument(
        "--only", nargs="+", choices=sorted(FAMILIES), default=list(FAMILIES), help="families of worlds"
    )
    parser.add_argument("--out", type=Path, help="a Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines: list[str] = []
    started = time.process_time()
    for family in options.only:
        for world in FAMILIES[family]():
            added = table(world, *measure(world, options.draws))
            print("\n".join(added), flush=True)
            lines += added
            if options.out:  # after every world: a run that is cut short leaves what it has
                options.out.write_text(page(lines, options, (time.process_time() - started) / 60))


def page(lines: list[str], options: argparse.Namespace, minutes: float) -> str:
    when = (
        f"{datetime.date.today()}, {platform.machine()}, torch {torch.__version__}, one thread, {minutes:.0f} minutes"
    )
    head = (
        "| world | checkpoint | | truth | lower | upper | width | identified | holds | strictly | outside | plug-in |"
    )
    title = f"# Coverage of identified intervals: {', '.join(options.only)}"
    parts = [title, f"{when}; {options.draws} draws of every world.", "", *LEGEND, "", head, "|---" * 12 + "|", *lines]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
