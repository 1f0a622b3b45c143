"""Atoms by layer and step, drawn as images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusionscope.records.schema import Record
from fusionscope.records.simultaneous import marks

TITLES = {
    "redundancy": "redundancy R",
    "unique_vision": "unique vision U1",
    "unique_language": "unique language U2",
    "synergy": "synergy S",
}


def grid(records: Sequence[Record], atom: str) -> tuple[NDArray[np.float64], list[int], list[int]]:
    """An atom of one series as a matrix.

    Returns:
        float64 [layers, steps] in bits (NaN where there is no record), the layers, the steps.
    """
    layers = sorted({record.layer for record in records})
    steps = sorted({record.step for record in records})
    values = np.full((len(layers), len(steps)), np.nan)
    rows = {layer: i for i, layer in enumerate(layers)}
    columns = {step: i for i, step in enumerate(steps)}
    for record in records:
        values[rows[record.layer], columns[record.step]] = getattr(record, atom)
    return values, layers, steps


def draw_grid(axes: Any, records: Sequence[Record], atom: str, *, vmax: float, claims: int | None = None) -> Any:
    """Draw one heatmap into matplotlib axes: probes at equal widths, their steps written below; returns the mesh.

    A dot marks a cell whose atom is above zero, all dots together (`fusionscope.records.simultaneous.marks`).

    Args:
        axes: Where to.
        records: Records of one series.
        atom: Which atom.
        vmax: The end of the colour scale, which begins at 0, in bits.
        claims: Cells of all maps that are looked at together; by default those of one map of each atom.
    """
    values, layers, steps = grid(records, atom)
    mesh = axes.pcolormesh(
        np.arange(len(steps) + 1), np.arange(len(layers) + 1), values, cmap="viridis", vmin=0.0, vmax=vmax
    )
    above = [record for record, mark in zip(records, marks(records, atom, claims=claims), strict=True) if mark]
    columns = {step: i + 0.5 for i, step in enumerate(steps)}
    lines = {layer: i + 0.5 for i, layer in enumerate(layers)}
    axes.plot(
        [columns[record.step] for record in above],
        [lines[record.layer] for record in above],
        marker=".",
        markersize=2,
        linestyle="",
        color="white",
        markeredgecolor="black",
        markeredgewidth=0.3,
    )
    shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 7)).round().astype(int))
    axes.set_xticks(shown + 0.5, [str(steps[i]) for i in shown], fontsize=7)
    rows = np.unique(np.linspace(0, len(layers) - 1, min(len(layers), 9)).round().astype(int))
    axes.set_yticks(rows + 0.5, [str(layers[i]) for i in rows], fontsize=7)
    axes.set_title(f"{TITLES[atom]} (bits)", fontsize=9)
    return mesh


def depth_heatmap(records: Sequence[Record], atom: str, *, vmax: float) -> NDArray[np.uint8]:
    """A layer-by-step heatmap of one atom, lettered for the size at which TensorBoard shows images.

    Args:
        records: Records of one series.
        atom: Which atom.
        vmax: The end of the colour scale, which begins at 0, in bits.

    Returns:
        uint8 [height, width, 3].
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 3.0), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    figure.colorbar(draw_grid(axes, records, atom, vmax=vmax), ax=axes)
    axes.set_xlabel("optimizer step of each probe", fontsize=8)
    axes.set_ylabel("layer", fontsize=8)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
