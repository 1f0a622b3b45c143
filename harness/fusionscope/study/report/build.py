"""What a run found: a page, its figures and a short table."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from fusionscope.errors import RunDirectoryError
from fusionscope.records import Record, RecordFile, Run
from fusionscope.records.series import SHORT, at_end, by_series, folders, last_layer, title
from fusionscope.study.comparison.page import breadth_figure, profile_page, where
from fusionscope.study.comparison.profile import SPEC, comparisons, read_profile, rows_of, write_tables
from fusionscope.study.report import page, tables
from fusionscope.study.report.figures import (
    depth_figure,
    diagnostics_figure,
    heatmap_card,
    largest,
    layers_card,
    time_card,
    time_figure,
)
from fusionscope.study.report.methods import SOURCES, sentences
from fusionscope.study.report.theme import inline_svg, save

PAGE = "report.html"


def report(run_dir: str | os.PathLike[str]) -> str:
    """Write the page and the figures of a run into its directory and return a table as text.

    Args:
        run_dir: A directory with ``records.jsonl``, of a run, a probe sweep or a profile. ``report.html`` goes there
            and the figures into ``figures/``; several runs in one sweep get a folder each.

    Raises:
        RunDirectoryError: No records there, or none of the last layer.
    """
    directory = Path(run_dir)
    records = read_records(directory)
    _need_last_layer(directory, records)
    if (directory / SPEC).is_file():
        return _profile_report(directory, records)
    runs = list(dict.fromkeys(record.run for record in records))
    if len(runs) == 1:
        # A sweep of a run lies in a folder of it.
        journey = Run.find(directory) or Run.find(directory.resolve().parent)
        return f"{_run_report(directory, records, journey, directory.resolve().name)}\n{_curves(directory)}"
    parts = []
    for run, folder in folders(runs).items():
        own = [record for record in records if record.run == run]
        parts.append(f"{run}\n{_run_report(directory / 'runs' / folder, own, None, run)}")
    return "\n\n".join([*parts, _curves(directory)])


def _run_report(directory: Path, records: Sequence[Record], journey: Run | None, name: str) -> str:
    save(time_figure(records, journey), directory / "figures" / "time")
    save(depth_figure(records), directory / "figures" / "depth")
    save(diagnostics_figure(records), directory / "figures" / "diagnostics")
    (directory / PAGE).write_text(run_page(records, journey, name=name), encoding="utf-8")
    where = f"Report:  {directory / PAGE} (figures as PNG and SVG in {directory / 'figures'})"
    return "\n".join([summary(records), "", where])


def _profile_report(directory: Path, records: Sequence[Record]) -> str:
    """Tables, figure and page of a profile; its comparisons as text."""
    profile = read_profile(directory / SPEC)
    rows = rows_of(profile, records)
    if not rows:
        raise RunDirectoryError(
            f"{directory} has records of {', '.join(dict.fromkeys(record.run for record in records))}",
            f"none is of a model that {SPEC} names",
            "run `fusionscope profile` on the file with these models",
        )
    write_tables(profile, records, directory)
    save(breadth_figure(rows), directory / "figures" / "breadth")
    (directory / PAGE).write_text(profile_page(profile, records, name=directory.resolve().name), encoding="utf-8")
    lines = [line for name, table in comparisons(rows).items() for line in (name, *tables.as_text(table), "")]
    return "\n".join([*lines, *where(directory)])


def _need_last_layer(directory: Path, records: Sequence[Record]) -> None:
    for run in dict.fromkeys(record.run for record in records):
        own = [record for record in records if record.run == run]
        if not last_layer(own):
            raise RunDirectoryError(
                f"{directory} has records of layers {', '.join(map(str, sorted({r.layer for r in own})))} of {run!r}",
                f"a report is about a model's own answers, which are in its last layer, {own[0].n_layers}",
                "probe that layer too: `fusionscope probe --layers last` adds to the records",
            )


def read_records(directory: Path) -> list[Record]:
    """The records of a run directory.

    Raises:
        RunDirectoryError: None there.
    """
    records = RecordFile(directory / "records.jsonl").read()
    if not records:
        raise RunDirectoryError(
            f"{directory} holds no records",
            "a report is drawn from records.jsonl",
            "give the directory of a run that PIDCallback or `fusionscope probe` wrote records of",
        )
    return records


def summary(records: Sequence[Record]) -> str:
    """What happened, as text: atoms at the end of each stage, onsets, costs."""
    designs = sorted({f"{r.design} design, {r.estimator} estimator" for r in records})
    lines = [f"At the end of each stage ({'; '.join(designs)}):", *tables.as_text(tables.stage_ends(records)), ""]
    lines.append("Onset of synergy in the last layer (first probe from which it stays above the null):")
    onsets = tables.synergy_onsets(records)
    for series, found in onsets.items():
        name = title(series, list(onsets))
        name = name if name != series.task else f"{name} ({series.variant})"
        lines.append(f"  {name}: {found}" + ("" if math.isnan(found.null) else f"; null {found.null:.3f} bits"))
    return "\n".join([*lines, "", costs(records)])


def costs(records: Sequence[Record]) -> str:
    """How many records, and what the probes cost."""
    probes = {(r.run, r.step, r.stage, r.task, r.design): r for r in records}.values()
    unsolved = sum(not record.converged for record in records)
    return (
        f"{len(records)} records from {len(probes)} probes: {sum(r.seconds for r in probes):.0f} s and"
        f" {sum(r.tokens for r in probes):,} tokens; {unsolved} estimates did not converge"
    )


def run_page(records: Sequence[Record], journey: Run | None, *, name: str) -> str:
    """The page of one run, as HTML."""
    stages = ", ".join(dict.fromkeys(r.stage for r in sorted(records, key=lambda r: r.step)))
    lead = f"How vision, language and their fusion carry the answers, in bits, over {stages}."
    return page.page(
        name,
        lead,
        [
            page.tiles(_facts(records)),
            _time_section(records, journey),
            _depth_section(records),
            page.section("Diagnostics", _diagnostics(records), page.paragraph(costs(records) + ".")),
            page.section("Methods", page.paragraph(" ".join(sentences(records, journey)))),
            page.section("Sources", page.citations(SOURCES)),
        ],
    )


def _facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    """What to see first: for each series its largest atom at the end, and when synergy emerged where it did."""
    groups = by_series(last_layer(records))
    facts = []
    for series, own in groups.items():
        end = own[-1]
        atom = max(end.atoms, key=lambda a: end.atoms[a])
        solved = all(math.isfinite(value) for value in end.atoms.values())
        value = f"{SHORT[atom]} = {end.atoms[atom]:.2f} bits" if solved else "unsolved"
        facts.append((value, f"largest atom at the end, {title(series, list(groups))}"))
    for series, found in tables.synergy_onsets(records).items():
        if found.step is not None:
            about = f"onset of synergy, {title(series, list(groups))}, 95 % interval {found.low} to {found.high}"
            facts.append((f"step {found.step}", about))
    return facts


def _time_section(records: Sequence[Record], journey: Run | None) -> str:
    groups = by_series(last_layer(records))
    drawn = []
    for i, (series, own) in enumerate(groups.items()):
        name = title(series, list(groups))
        svg = inline_svg(time_card(own, journey), f"Atoms of {name} over optimizer steps", f"t{i}")
        drawn.append(page.card(svg, title=name))
    note = (
        "The last layer's atoms at every probe. Above: stacked up to the total information (line), with the accuracy "
        "(dotted). Below: each atom with its 95 % interval; the dashed line is the onset of synergy. Shaded: stages."
    )
    return page.section(
        "Time: what the answers rest on, while it trains",
        page.legend(),
        page.cards(drawn),
        tables.as_html(tables.stage_ends(records), "At the end of each stage, last layer"),
        note=note,
    )


def _depth_section(records: Sequence[Record]) -> str:
    if len({record.layer for record in records}) < 2:
        return ""
    groups, ends, vmax = by_series(records), at_end(records), largest(records)
    layers, maps = [], []
    for i, (series, own) in enumerate(groups.items()):
        name = title(series, list(groups))
        svg = inline_svg(layers_card(ends[series]), f"Atoms of {name} by layer at the end", f"d{i}")
        layers.append(page.card(svg, title=name))
        svg = inline_svg(heatmap_card(own, vmax=vmax), f"Atoms of {name} by layer and step", f"h{i}")
        maps.append(page.card(svg, title=name))
    return page.section(
        "Depth: where in the model",
        page.legend(),
        page.cards(layers),
        tables.as_html(tables.depth_phases(records), "What the early, middle and late layers add, in bits (share)"),
        page.cards(maps),
        tables.as_html(tables.layer_onsets(records), "Onset of synergy by layer: step [95 % interval]"),
        note="The atoms of every layer: at the end of the run, then at every probe.",
    )


def _diagnostics(records: Sequence[Record]) -> str:
    svg = inline_svg(diagnostics_figure(records), "Diagnostics over optimizer steps", "g")
    return page.card(svg, kind="big") + tables.as_html(
        tables.diagnostics(records), "The worst over all probes, last layer"
    )


def _curves(directory: Path) -> str:
    return f"Curves:  tensorboard --logdir {directory}"
