"""The page and the figures of a run."""

import math
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from fusionscope.errors import RunDirectoryError
from fusionscope.records import Attempt, Record, RecordFile, Run
from fusionscope.records.onset import onset
from fusionscope.records.tables import depth_phases, diagnostics, stage_ends
from fusionscope.study.page import inline_svg, sentences
from fusionscope.study.report import report
from fusionscope.study.report.figures import design_figure, time_card

VOID = {"meta", "link", "br", "hr", "img", "use", "path", "image"}


class Page(HTMLParser):
    """What a browser would have to fetch, the ids, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: Counter[str] = Counter()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith(("#", "data:")):
                self.fetched.append(value)
            if name == "id" and value:
                self.ids[value] += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., list[Record]]
) -> tuple[Path, str, list[Record]]:
    directory = tmp_path_factory.mktemp("demo")
    records = [r for r in make_run(run="demo") if r.task in ("sandbox/synergy", "sandbox/redundant")]
    RecordFile(directory / "records.jsonl").append(records)
    return directory, report(directory), records


def test_the_page_is_whole_and_asks_nobody_for_anything(made: tuple[Path, str, list[Record]]) -> None:
    text = (made[0] / "report.html").read_text()
    page = Page(text)
    assert page.fetched == []
    assert page.open == []
    assert not re.search(r"@import|url\((?!#|data:)|<script|https?://", text)
    assert max(page.ids.values()) == 1
    references = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
    assert {a or b for a, b in references} <= set(page.ids)


def test_the_page_says_what_was_found_and_how(made: tuple[Path, str, list[Record]]) -> None:
    text = (made[0] / "report.html").read_text()
    for needle in (
        "Time: ",
        "Depth: ",
        "Diagnostics",
        "Methods",
        "Sources",
        "crossed design",
        "288 images, 4 questions",
        "arXiv:2603.29676",
        "prefers-color-scheme: dark",
        "@media print",
        "viewport",
        "S = 1.9",
        "torch 2.13.0",
    ):
        assert needle in text, needle
    assert text.count("<svg") == 3 + 3 + 3 + 1


@pytest.mark.parametrize("name", ["time", "depth", "diagnostics"])
def test_figures_are_drawn_as_png_and_svg(made: tuple[Path, str, list[Record]], name: str) -> None:
    with Image.open(made[0] / "figures" / f"{name}.png") as picture:
        extrema = picture.convert("L").getextrema()
    assert extrema[0] < 100
    assert extrema[1] == 255
    assert (made[0] / "figures" / f"{name}.svg").read_text().startswith("<?xml")


def test_the_printed_table_holds_the_numbers(made: tuple[Path, str, list[Record]]) -> None:
    text, records = made[1], made[2]
    end = next(r for r in records if (r.task, r.layer, r.step, r.stage) == ("sandbox/synergy", 4, 300, "2_tune"))
    assert f"{end.synergy:.3f} ± {end.standard_errors['synergy']:.3f}" in text
    assert "Onset of synergy" in text
    assert "0 estimates did not converge" in text


def test_figures_follow_the_readers_ink(
    make_run: Callable[..., list[Record]], make_staged_run: Callable[..., Run]
) -> None:
    own = [r for r in make_run() if r.task == "sandbox/synergy" and r.layer == 4]
    svg = inline_svg(time_card(own, make_staged_run(Path()), emerged=onset(own)), 'a "label"', "k1")
    assert "var(--ink)" in svg
    assert "#1b1c1d" not in svg
    assert 'aria-label="a &quot;label&quot;"' in svg
    assert "onset of S" in svg
    assert "2_tune" in svg


def test_odd_runs_are_drawn_too(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    records = [
        make_record(step=step, synergy=math.nan if step == 1 else 0.5, converged=step != 1, accuracy=math.nan)
        for step in range(3)
    ]
    RecordFile(tmp_path / "records.jsonl").append(records)
    text = report(tmp_path)
    assert "1 estimates did not converge" in text
    assert "too few" in text
    assert "Depth: " not in (tmp_path / "report.html").read_text()
    RecordFile(tmp_path / "one" / "records.jsonl").append(records[:1])
    assert "0.500" in report(tmp_path / "one")


def test_names_of_runs_and_tasks_may_hold_any_character(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    names = ("org/model:7B", "org_model_7B", "..", "a$\\frac$b <i>")
    RecordFile(tmp_path / "records.jsonl").append(
        make_record(run=run, model=run, step=step, task=f"{run} $x$", synergy=0.5) for run in names for step in (0, 1)
    )
    text = report(tmp_path)
    pages = {name: tmp_path / "runs" / name / "report.html" for name in ("org_model_7B", "org_model_7B-2", "_")}
    assert all(path.is_file() for path in pages.values())
    assert not (tmp_path / "report.html").exists()
    assert text.count("Curves:") == 1  # event files lie in the directory, not in the runs' folders
    page = (tmp_path / "runs" / "a$_frac$b _i_" / "report.html").read_text()
    assert Page(page).open == []
    assert "<i>" not in page
    assert "a$\\frac$b &lt;i&gt; $x$" in (tmp_path / "runs" / "a$_frac$b _i_" / "figures" / "time.svg").read_text()


def test_without_the_last_layer_there_is_nothing_to_report(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    RecordFile(tmp_path / "records.jsonl").append(make_record(layer=layer) for layer in (0, 2))
    with pytest.raises(RunDirectoryError, match="records of layers 0, 2 of 'run'"):
        report(tmp_path)


def test_what_no_layer_was_probed_for_is_not_made_up(make_record: Callable[..., Record]) -> None:
    layers = [make_record(layer=layer, n_layers=32, synergy=layer / 32) for layer in (8, 16, 32)]
    (row,) = depth_phases(layers)[1:]
    assert row[3:6] == ("not probed", "not probed", "+0.200 (20%)")
    assert depth_phases([*layers[:2], make_record(layer=24, n_layers=32, synergy=0.5)])[1:] == []


def test_an_unsolved_end_is_called_that(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    nothing = dict.fromkeys(("redundancy", "unique_vision", "unique_language", "synergy", "total"), math.nan)
    RecordFile(tmp_path / "records.jsonl").append([make_record(converged=False, **nothing)])
    text = report(tmp_path)
    assert "null nan" not in text
    page = (tmp_path / "report.html").read_text()
    assert "<b>unsolved</b>" in page
    assert "nan bits" not in page


def test_several_designs_are_told_apart(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    # A variant names a law that is not its design's own.
    variants = {("crossed", "uniform"): "crossed", ("crossed", "natural"): "crossed+natural"}
    variants |= {(design, "natural"): design for design in ("masked", "learned")}
    RecordFile(tmp_path / "records.jsonl").append(make_record(design=d, law=w) for d, w in variants)
    text = report(tmp_path)
    lines = [line.split()[:3] for line in text.splitlines() if line.startswith("sandbox/synergy")]
    assert lines == [["sandbox/synergy", variant, "1_align"] for variant in variants.values()]
    assert "sandbox/synergy (masked): " in text
    assert "sandbox/synergy (crossed+natural): " in text


@pytest.mark.parametrize(("law", "said"), [("uniform", "interventional"), ("natural", "observational")])
def test_methods_say_what_the_law_means(law: str, said: str, make_record: Callable[..., Record]) -> None:
    (other,) = {"interventional", "observational"} - {said}
    text = " ".join(sentences([make_record(law=law, spec={"lens": "tuned-0a1b2c3d"})]))
    assert said in text
    assert other not in text
    assert "the lens tuned-0a1b2c3d" in text
    assert "logit lens" not in text


def test_a_design_whose_package_is_not_here_is_named(make_record: Callable[..., Record]) -> None:
    text = " ".join(sentences([make_record(design="exchanged", estimator="minimum", law="rare")]))
    assert "design 'exchanged', whose package is not installed here" in text
    assert "estimator is 'minimum', whose package is not installed here" in text
    assert "Under the law 'rare' pairs have the weights that the task gives them" in text


def test_settings_that_are_not_default_are_said(make_record: Callable[..., Record]) -> None:
    spec = {"fallback": 0.3, "max_pairs": 40, "layers": "last", "design": "crossed"}
    text = " ".join(sentences([make_record(spec=spec)]))
    assert "Settings other than the defaults: fallback 0.3, max pairs 40." in text


def test_sources_and_attempts_are_shown(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    source = {"dropped": {"unreadable images": 3, "none": 0}, "licence": "CC-BY-4.0", "citation": "Somebody 2020"}
    first, second = (make_record(attempt=attempt, synergy=0.1 * attempt, **source) for attempt in (1, 2))
    RecordFile(tmp_path / "records.jsonl").append([first])
    report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "3 unreadable images</td>" in page
    assert "CC-BY-4.0" in page
    assert "Somebody 2020" in page
    assert "Attempts</h2>" not in page
    RecordFile(tmp_path / "records.jsonl").append([second])
    assert "0.200" in report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Attempts</h2>" in page


def test_no_records_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="holds no records"):
        report(tmp_path)


def test_tables(made: tuple[Path, str, list[Record]]) -> None:
    records = made[2]
    assert len(stage_ends(records)) == 1 + 3 * 2
    shares = {(row[0], row[1]): row[3:6] for row in depth_phases(records)[1:]}
    assert shares["sandbox/synergy", "S"][0].endswith("(0%)")
    assert diagnostics(records)[1][1] == "20"


def test_a_figure_of_designs() -> None:
    figure = design_figure(
        {"a": {"crossed": dict.fromkeys(("redundancy", "unique_vision", "unique_language", "synergy"), 0.1)}}
    )
    assert "crossed" in inline_svg(figure, "designs", "x")


def test_attempts_are_shown_with_what_was_retired(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    file = RecordFile(tmp_path / "records.jsonl")
    file.append(make_record(step=step, synergy=0.1) for step in range(4))
    assert "Attempts" not in report(tmp_path)
    file.open_attempt(Attempt(run="run", attempt=2, parent=1, from_step=1, stage="1_align", stage_step=0))
    file.append([make_record(step=3, synergy=0.75, attempt=2)])
    text, page = report(tmp_path), (tmp_path / "report.html").read_text()
    assert "from attempt 1, step 1" in text
    assert "from attempt 1, step 1" in page
    assert "0.750" in text
    rows = {line.split()[0]: line.split()[-2:] for line in text.split("Attempts at this run:")[1].splitlines()[2:4]}
    assert rows == {"1": ["4", "2"], "2": ["1", "0"]}
