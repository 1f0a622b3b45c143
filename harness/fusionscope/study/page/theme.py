"""How figures look: colours that every kind of colour vision tells apart, one ink that the page turns light or dark."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe and Ito 2008; figures also mark every atom by a symbol or a letter, for print in grey.
COLOURS = {
    "redundancy": "#e69f00",
    "unique_vision": "#56b4e9",
    "unique_language": "#009e73",
    "synergy": "#d55e00",
}
MARKERS = {"redundancy": "s", "unique_vision": "^", "unique_language": "v", "synergy": "o"}
SYMBOLS = {"redundancy": "■", "unique_vision": "▲", "unique_language": "▼", "synergy": "●"}
EXTRA = ("#0072b2", "#d55e00", "#cc79a7", "#e69f00", "#009e73", "#56b4e9", "#8a8a8a", "#b8a800")
SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*")
CARD = 4.6
"""Width in inches of one panel of a page."""


def shape(i: int) -> str:
    """The symbol beside the i-th of the `EXTRA` colours: beyond these each colour gets another symbol.

    >>> len({(EXTRA[i % len(EXTRA)], shape(i)) for i in range(64)})
    64
    """
    return SHAPES[(i // len(EXTRA) + i) % len(SHAPES)]


# Colours with a meaning: in a page they become CSS variables, which follow the reader's light or dark setting.
INK, MUTED, GRID, BAND = "#1b1c1d", "#5b5c5d", "#d3d4d5", "#e9eaeb"
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", BAND: "var(--band)"}
_SETTINGS: Any = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "fusionscope",
    "axes.axisbelow": True,
    "text.parse_math": False,  # names of tasks and models may hold dollar signs
}


@contextmanager
def style() -> Iterator[None]:
    """Draw figures within: matplotlib's settings are as before afterwards."""
    with mpl.rc_context(_SETTINGS):
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and SVG beside each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with style():
        figure.savefig(path.with_suffix(".png"), dpi=150, facecolor="white")
        figure.set_layout_engine("none")  # laid out by now; doing it again takes as long as drawing
        figure.savefig(path.with_suffix(".svg"), facecolor="white", metadata={"Date": None})


def inline_svg(figure: Figure, label: str, key: str) -> str:
    """A figure as an ``<svg>`` element for a page: transparent, its ink in CSS variables, its ids made unique.

    Args:
        figure: The figure.
        label: What a screen reader says.
        key: Unique in the page, letters and digits.
    """
    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\sxmlns:xlink="[^"]*"|\sxmlns="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label, quote=True)}"', 1).strip()
