import math

import pytest
import torch

from fusionscope.errors import InputError
from fusionscope.pid import pid_from_joint
from fusionscope.pid.identified import QUANTITIES, identified_pid
from fusionscope.pid.identified.intervals import _Interval
from fusionscope.pid.result import ATOMS

FEW = 20


def world(images: int, questions: int, answers: int = 2, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    parts = [
        scale * torch.randn(*shape, answers, generator=g, dtype=torch.float64)
        for scale, shape in ((0.5, (images, 1)), (1.0, (1, questions)), (1.5, (images, questions)))
    ]
    return torch.softmax(sum(parts), -1)


def sampled(p: torch.Tensor, n: int, each: int, seed: int = 1) -> dict[str, torch.Tensor]:
    """Rows of n images of a population, each with some of its questions."""
    g = torch.Generator().manual_seed(seed)
    image = torch.randint(len(p), (n, 1), generator=g).expand(-1, each)
    question = torch.stack([torch.randperm(p.shape[1], generator=g)[:each] for _ in range(n)])
    return {
        "joint": p[image, question].flatten(0, 1),
        "images": torch.arange(n).repeat_interleave(each),
        "questions": question.flatten(),
        "questions_available": torch.full((n * each,), float(p.shape[1])),
    }


def exact(p: torch.Tensor, weights: torch.Tensor | None = None) -> dict[str, float]:
    weights = torch.full(p.shape[:2], 1 / p[..., 0].numel(), dtype=torch.float64) if weights is None else weights
    result = pid_from_joint(p * weights[..., None])
    names = (*ATOMS, "total", "information_vision", "information_language")
    values = {name: float(getattr(result, name)) for name in names}
    return values | {"union": values["total"] - values["synergy"]}


@pytest.mark.parametrize(("answers", "tolerance"), [(2, 1e-9), (4, 2e-6)])
def test_a_benchmark_that_was_run_whole_is_exact(answers: int, tolerance: float) -> None:
    p = world(30, 10, answers)
    asked = torch.rand(30, 10, generator=torch.Generator().manual_seed(2)) < 0.4
    asked[:, 0] = True
    image, question = asked.nonzero().T
    result = identified_pid(p[image, question], image + 100, question, law="benchmark", images_total=30)
    truth = exact(p, asked / asked.sum())
    for name in QUANTITIES:
        assert float(result.lower[name]) == pytest.approx(max(0.0, truth[name]), abs=tolerance), name
        assert float(result.upper[name]) == pytest.approx(truth[name], abs=tolerance), name


@pytest.mark.parametrize("answers", [2, 3])
def test_intervals_hold_the_truth_of_a_population(answers: int) -> None:
    p = world(2000, 25, answers)
    truth = exact(p)
    rows = [sampled(p, 150, 5, seed) for seed in range(FEW)]
    results = [identified_pid(**x, questions_enumerated=True) for x in rows]
    for name in QUANTITIES:
        held = sum(float(r.lower[name]) - 0.01 <= truth[name] <= float(r.upper[name]) + 0.01 for r in results)
        assert held >= FEW - 3, name


def test_part_of_a_benchmark_holds_the_truth_of_the_whole() -> None:
    p = world(120, 20)
    truth = exact(p)
    held = dict.fromkeys(QUANTITIES, 0)
    for seed in range(FEW):
        some = torch.randperm(120, generator=torch.Generator().manual_seed(seed))[:60]
        result = identified_pid(
            p[some].flatten(0, 1),
            some.repeat_interleave(20),
            torch.arange(20).repeat(60),
            law="benchmark",
            images_total=120,
            images_available=torch.full((1200,), 120),
        )
        for name in QUANTITIES:
            held[name] += float(result.lower[name]) - 0.01 <= truth[name] <= float(result.upper[name]) + 0.01
    assert min(held.values()) >= FEW - 3, held


def test_layers_are_independent_problems() -> None:
    rows = sampled(world(300, 12), 60, 4)
    other = sampled(world(300, 12, seed=5), 60, 4)
    both = identified_pid(**(rows | {"joint": torch.stack([rows["joint"], other["joint"]])}))
    assert both.lower["synergy"].shape == (2,)
    assert float(both[0].upper["total"]) == pytest.approx(
        float(identified_pid(**rows).upper["total"]), abs=1e-12
    )  # the total needs no folds


def test_the_order_of_rows_changes_nothing() -> None:
    rows = sampled(world(300, 12), 80, 4)
    order = torch.randperm(320, generator=torch.Generator().manual_seed(0))
    names = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    there = identified_pid(**rows)
    images, questions = (names[rows[name]][order] for name in ("images", "questions"))
    back = identified_pid(
        rows["joint"][order], images, questions, questions_available=rows["questions_available"][order]
    )
    for name in QUANTITIES:
        assert float(there.lower[name]) == pytest.approx(float(back.lower[name]), abs=1e-6), name
        assert float(there.upper[name]) == pytest.approx(float(back.upper[name]), abs=1e-6), name


def test_no_interval_excludes_its_estimate_and_wide_ones_have_none() -> None:
    rows = sampled(world(300, 12), 80, 4)
    result = identified_pid(**rows, max_width=10.0)
    for name in QUANTITIES:
        assert float(result.lower[name]) <= float(result.estimate[name]) <= float(result.upper[name])
        assert float(result.lower[name]) <= float(result.identified_lower[name])
    assert bool(torch.isnan(identified_pid(**rows, max_width=0.0).estimate["synergy"]))


@pytest.mark.parametrize("answers", [2, 3])
@pytest.mark.parametrize("kind", ["constant", "certain", "one answer"])
def test_extreme_posteriors_stay_within_what_can_be(kind: str, answers: int) -> None:
    rows = sampled(world(60, 6, answers), 20, 3)
    label = torch.randint(0 if kind == "certain" else answers - 1, answers, (60,), generator=torch.Generator())
    certain = torch.nn.functional.one_hot(label, answers).double()
    joint = torch.full_like(certain, 1 / answers) if kind == "constant" else certain
    result = identified_pid(**(rows | {"joint": joint}))
    for name in QUANTITIES:
        assert 0 <= float(result.lower[name]) <= float(result.upper[name]) <= math.log2(answers), name
    if kind != "certain":
        assert max(float(x) for x in result.upper.values()) < 1e-9


def test_questions_of_one_image_each_identify_little() -> None:
    g = torch.Generator().manual_seed(0)
    yes = torch.rand(100, generator=g, dtype=torch.float64)
    joint = torch.stack([1 - yes, yes], -1)
    result = identified_pid(joint, torch.arange(100), torch.arange(100))
    assert any("occurs once" in reason for reason in result.reasons)
    assert float(result.lower["synergy"]) == 0.0
    assert float(result.upper["information_vision"]) >= float(result.identified_lower["total"])
    assert bool(torch.isnan(result.estimate["synergy"])) == (float(result.width("synergy")) > result.max_width)


def test_a_sample_of_questions_is_less_certain_than_a_list() -> None:
    rows = sampled(world(2000, 12), 200, 4)
    of_list, of_sample = (identified_pid(**rows, questions_enumerated=x) for x in (True, False))
    assert float(of_sample.width("information_language")) > float(of_list.width("information_language"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(8)}, "images is torch.float32"),
        ({"questions": torch.zeros(3, dtype=torch.int64)}, "one integer for each of the 8 pairs"),
        ({"questions": torch.zeros(8, dtype=torch.int64)}, "row 0: image 0 with question 0, more than once"),
        ({"images": torch.zeros(8, dtype=torch.int64)}, "pairs of one image"),
        ({"images": torch.arange(8), "questions": torch.zeros(8, dtype=torch.int64)}, "pairs of one question"),
        ({"law": "uniform"}, "population, benchmark"),
        ({"law": "benchmark"}, "without images_total"),
        ({"law": "benchmark", "images_total": 9}, "without images_available"),
        ({"images_total": 4}, "a population has no end"),
        ({"law": "benchmark", "images_total": 3}, "images_total=3"),
        ({"questions_available": torch.ones(8)}, "row 0: questions_available 1, where 2 pairs"),
        ({"weights": torch.tensor([2.0, 1, 1, 1, 1, 1, 1, 1]).double() / 9}, "row 1: weight"),
        ({"level": 1.5}, "level=1.5"),
        ({"max_width": -1.0}, "max_width=-1.0"),
    ],
)
def test_bad_input_is_refused_with_its_row(changes: dict, message: str) -> None:
    settings = {
        "joint": torch.full((8, 2), 0.5, dtype=torch.float64),
        "images": torch.arange(4).repeat_interleave(2),
        "questions": torch.arange(8),
    }
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        identified_pid(**(settings | changes))


def test_an_interval_that_noise_puts_out_of_range_is_marked_and_gives_no_estimate():
    ends = {"lower": -0.08, "upper": -0.03, "identified_lower": -0.06, "identified_upper": -0.05}
    found = _Interval.of({name: torch.tensor([value, abs(value)]) for name, value in ends.items()}, most=1.0)
    assert (found.lower.tolist()[0], found.upper.tolist()[0], found.crossed.tolist()[0]) == (0.0, 0.0, True)
    assert math.isnan(found.estimate(0.05)[0])
