"""Records drawn as TensorBoard scalars, images and a custom-scalars layout.

Tags, for each series (task and variant) of records:

* ``pid_<series>/<atom>`` and ``pid_<series>/total``: the last layer's atoms, in bits: 5 tags
* ``pid_<series>/<atom>_lower`` and ``..._upper``: 95 % intervals, where there are standard errors or identified
  intervals: 8 tags
* ``pid_<series>/accuracy``, ``..._without_image``, ``..._without_text``, ``option_mass``: at most 4 tags
* ``pid_layers_<series>/<atom>_layer_NN``: 4 tags a layer, for 17 layers at the most (records keep all)
* ``pid_depth_<series>/<atom>``: 4 images, layer-by-step heatmaps

and of a run ``pid_cost/tokens`` and ``pid_cost/seconds``, what the probes of a step took, all tasks together.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from fusionscope.records.heatmap import depth_heatmap
from fusionscope.records.schema import ATOMS, Record, Series

MAX_LAYERS = 17
"""Layers with curves of their own; deeper models show evenly spaced ones, and all layers in the heatmaps."""
_SHARES = ("accuracy", "accuracy_without_image", "accuracy_without_text")


class SummaryWriter(Protocol):
    """What is used of `torch.utils.tensorboard.SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...

    def add_image(self, tag: str, img_tensor: object, global_step: int, *, dataformats: str) -> None: ...

    def add_custom_scalars(self, layout: dict[str, dict[str, list[object]]]) -> None: ...


def series_name(series: Series) -> str:
    """A series as tags spell it, of letters, digits and ``._-``: slashes would open a group of their own.

    >>> series_name(Series("sandbox/synergy", "masked:mean,draws=6"))
    'sandbox.synergy.masked.mean.draws-6'
    """
    return re.sub(r"[^\w.-]", ".", ".".join(series).replace("=", "-"))


def tag(series: Series, what: str) -> str:
    """The tag of one number of a series' last layer."""
    return f"pid_{series_name(series)}/{what}"


def layer_tag(series: Series, atom: str, layer: int) -> str:
    """The tag of one atom of one layer of a series."""
    return f"pid_layers_{series_name(series)}/{atom}_layer_{layer:02d}"


def drawn_layers(n_layers: int) -> set[int]:
    """Layers that get curves: all of a shallow model, else evenly spaced ones with the first and the last.

    >>> sorted(drawn_layers(4)), len(drawn_layers(80)), {0, 80} <= drawn_layers(80)
    ([0, 1, 2, 3, 4], 17, True)
    """
    if n_layers < MAX_LAYERS:
        return set(range(n_layers + 1))
    return {round(i * n_layers / (MAX_LAYERS - 1)) for i in range(MAX_LAYERS)}


def draw_scalars(writer: SummaryWriter, records: Sequence[Record]) -> None:
    """Write the scalars of records, x = their step; what is NaN (unsolved, unknown) is left out."""
    for record in records:
        shown = record.layer in drawn_layers(record.n_layers)
        for atom, value in record.atoms.items() if shown else ():
            _scalar(writer, layer_tag(record.series, atom, record.layer), value, record.step)
        if record.layer == record.n_layers:
            for name, value in _last_layer_numbers(record).items():
                _scalar(writer, tag(record.series, name), value, record.step)
    for step, stage in dict.fromkeys((record.step, record.stage) for record in records):
        for name, value in costs(r for r in records if (r.step, r.stage) == (step, stage)).items():
            _scalar(writer, name, value, step)


def costs(records: Iterable[Record]) -> dict[str, float]:
    """What the probes of one step took, by tag: layers and laws of a task share its passes."""
    probes = {(record.task, record.design, repr(record.spec)): record for record in records}.values()
    return {
        "pid_cost/tokens": float(sum(record.tokens for record in probes)),
        "pid_cost/seconds": sum(record.seconds for record in probes),
    }


def draw_heatmaps(writer: SummaryWriter, records: Sequence[Record]) -> None:
    """Draw one layer-by-step heatmap of each atom for each series of records."""
    for series in dict.fromkeys(record.series for record in records):
        own = [record for record in records if record.series == series]
        step = max(record.step for record in own)
        vmax = max([1e-3, *(v for record in own for v in record.atoms.values() if math.isfinite(v))])
        for atom in ATOMS:
            heatmap = depth_heatmap(own, atom, vmax=vmax)
            writer.add_image(f"pid_depth_{series_name(series)}/{atom}", heatmap, step, dataformats="HWC")


def draw_layout(writer: SummaryWriter, records: Sequence[Record]) -> None:
    """Lay out the Custom Scalars page: the four atoms of each series in one chart, then each atom with its interval."""
    together: dict[str, list[object]] = {}
    intervals: dict[str, list[object]] = {}
    for series in dict.fromkeys(record.series for record in records):
        name = series_name(series)
        # the page takes these tags as patterns: without an end they would match the intervals' tags too
        together[name] = ["Multiline", [f"^{re.escape(tag(series, atom))}$" for atom in ATOMS]]
        of_series = [record for record in records if record.series == series]
        known = {atom for record in of_series for atom in record.standard_errors}
        identified = {atom for record in of_series for atom in record.identified}
        for atom in (atom for atom in ATOMS if atom in known | identified):
            ends = [tag(series, f"{atom}_lower"), tag(series, f"{atom}_upper")]
            if atom in identified:  # there may be no line between the ends
                intervals[f"{name}: {atom}"] = ["Multiline", [f"^{re.escape(end)}$" for end in ends]]
            else:
                intervals[f"{name}: {atom}"] = ["Margin", [tag(series, atom), *ends]]
    layout = {"The four atoms, in bits": together, "With 95 % intervals": intervals}
    writer.add_custom_scalars({title: charts for title, charts in layout.items() if charts})


def _last_layer_numbers(record: Record) -> dict[str, float]:
    numbers = {**record.atoms, "total": record.total}
    for atom in ATOMS:
        lower, upper = record.interval(atom)
        numbers |= {f"{atom}_lower": lower, f"{atom}_upper": upper}
    numbers |= {name: getattr(record, name) for name in _SHARES}
    return numbers | {"option_mass": record.diagnostics.get("option_mass", math.nan)}


def _scalar(writer: SummaryWriter, name: str, value: float, step: int) -> None:
    if math.isfinite(value):
        writer.add_scalar(name, value, step)


def purge_after(writer: Any, step: int) -> None:
    """Make TensorBoard forget what an interrupted run drew after a step.

    What `torch.utils.tensorboard.SummaryWriter` does for its argument ``purge_step``, on a writer that is open already.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    for event in (
        Event(file_version="brain.Event:2"),
        Event(session_log=SessionLog(status=SessionLog.START)),
    ):
        event.step = step + 1
        writer.file_writer.add_event(event, step + 1)
