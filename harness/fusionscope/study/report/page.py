"""The page of one run: time, depth, diagnostics, methods."""

import math
from collections.abc import Sequence

from fusionscope.records import ATOMS, AttemptHistory, Record, Run, tables
from fusionscope.records.series import SHORT, at_end, by_series, last_layer, title
from fusionscope.study.page import (
    SOURCES,
    card,
    cards,
    citations,
    inline_svg,
    legend,
    page,
    paragraph,
    section,
    sentences,
    table,
    tiles,
)
from fusionscope.study.report.figures import diagnostics_figure, heatmap_card, largest, layers_card, time_card


def run_page(records: Sequence[Record], run: Run | None, *, name: str, history: Sequence[AttemptHistory] = ()) -> str:
    """The page of one run, as HTML; its attempts are shown where there are several."""
    stages = ", ".join(dict.fromkeys(r.stage for r in sorted(records, key=lambda r: r.step)))
    lead = f"How vision, language and their fusion carry the answers, in bits, over {stages}."
    return page(
        name,
        lead,
        [
            tiles(_facts(records)),
            _time_section(records, run),
            _depth_section(records),
            section("Diagnostics", _diagnostics(records), paragraph(costs(records) + ".")),
            _attempts_section(history),
            section("Tasks", table(tables.task_sources(records))),
            section("Methods", paragraph(" ".join(sentences(records, run)))),
            section("Sources", citations(SOURCES)),
        ],
    )


def _attempts_section(history: Sequence[AttemptHistory]) -> str:
    if len(history) < 2:
        return ""
    note = "The page shows the newest attempt and what it continues; retired records stay in records.jsonl."
    return section("Attempts", table(tables.attempts(history)), note=note)


def costs(records: Sequence[Record]) -> str:
    """How many records, and what the probes cost."""
    probes = {(r.run, r.step, r.stage, r.task, r.design, repr(r.spec)): r for r in records}.values()
    unsolved = sum(not record.converged for record in records)
    seconds = sum(r.seconds for r in probes)
    took = "a time that was not recorded" if math.isnan(seconds) else f"{seconds:.0f} s"
    return (
        f"{len(records)} records from {len(probes)} probes: {took} and"
        f" {sum(r.tokens for r in probes):,} tokens; {unsolved} estimates did not converge"
    )


def _facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    """What to see first: for each series its largest atom at the end, and when synergy emerged where it did."""
    groups = by_series(last_layer(records))
    facts = []
    for series, points in groups.items():
        facts.append(_largest_atom(points[-1], title(series, list(groups))))
    for series, onset in tables.synergy_onsets(records).items():
        if onset.step is not None:
            about = f"onset of synergy, {title(series, list(groups))}, between {onset.low} and {onset.high}"
            facts.append((f"step {onset.step}", about))
    return facts


def _largest_atom(record: Record, name: str) -> tuple[str, str]:
    if record.identified and not math.isfinite(record.synergy):
        said = tables.identified_text(record, "synergy")
        unit = "" if said == "not identified" else " bits"
        return f"S {said}{unit}", f"identified of the synergy at the end, {name}"
    atom = max(record.atoms, key=lambda each: record.atoms[each])
    solved = all(math.isfinite(value) for value in record.atoms.values())
    value = f"{SHORT[atom]} = {record.atoms[atom]:.2f} bits" if solved else "unsolved"
    return value, f"largest atom at the end, {name}"


def _time_section(records: Sequence[Record], run: Run | None) -> str:
    groups = by_series(last_layer(records))
    onsets = tables.synergy_onsets(records)
    drawn = []
    for i, (series, points) in enumerate(groups.items()):
        name = title(series, list(groups))
        svg = inline_svg(
            time_card(points, run, emerged=onsets[series]), f"Atoms of {name} over optimizer steps", f"t{i}"
        )
        drawn.append(card(svg, title=name))
    note = (
        "The last layer's atoms at every probe. Above: stacked up to the total information (line), with the accuracy "
        "(dotted). Below: each atom with its 95 % interval, a bar where an interval and no point is identified; the "
        "dashed line is the onset of synergy in its interval, those of all series together at 95 %. Shaded: stages."
    )
    return section(
        "Time: what the answers rest on, while it trains",
        legend(),
        cards(drawn),
        table(tables.stage_ends(records), "At the end of each stage, last layer"),
        note=note,
    )


def _depth_section(records: Sequence[Record]) -> str:
    if len({record.layer for record in records}) < 2:
        return ""
    groups = by_series(records)
    ends = at_end(records)
    vmax = largest(records)
    cells = len(records) * len(ATOMS)
    layers, maps = [], []
    for i, (series, points) in enumerate(groups.items()):
        name = title(series, list(groups))
        svg = inline_svg(layers_card(ends[series]), f"Atoms of {name} by layer at the end", f"d{i}")
        layers.append(card(svg, title=name))
        svg = inline_svg(heatmap_card(points, vmax=vmax, claims=cells), f"Atoms of {name} by layer and step", f"h{i}")
        maps.append(card(svg, title=name))
    phases = "What the early, middle and late layers add, in bits (fraction of the atom at the last layer)"
    return section(
        "Depth: where in the model",
        legend(),
        cards(layers),
        table(tables.depth_phases(records), phases),
        cards(maps),
        table(tables.layer_onsets(records), "Onset of synergy by layer: step [interval], all together at 95 %"),
        note="The atoms of every layer: at the end of the run, each with its own 95 % interval, then at every probe: a "
        "dot says that the atom is above zero. All dots, onsets and first layers of this page hold together at 95 %.",
    )


def _diagnostics(records: Sequence[Record]) -> str:
    svg = inline_svg(diagnostics_figure(records), "Diagnostics over optimizer steps", "g")
    return card(svg, kind="big") + table(tables.diagnostics(records), "The worst over all probes, last layer")
