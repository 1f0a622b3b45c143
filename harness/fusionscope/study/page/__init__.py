"""What every page of ours is made of: HTML, how figures look, and the sentences that say how numbers came about."""

from fusionscope.study.page.html import (
    card,
    cards,
    citations,
    legend,
    page,
    paragraph,
    section,
    table,
    tiles,
)
from fusionscope.study.page.methods import SOURCES, sentences
from fusionscope.study.page.theme import (
    BAND,
    CARD,
    COLOURS,
    EXTRA,
    INK,
    MARKERS,
    MUTED,
    inline_svg,
    save,
    shape,
    style,
)

__all__ = [
    "BAND",
    "CARD",
    "COLOURS",
    "EXTRA",
    "INK",
    "MARKERS",
    "MUTED",
    "SOURCES",
    "card",
    "cards",
    "citations",
    "inline_svg",
    "legend",
    "page",
    "paragraph",
    "save",
    "section",
    "sentences",
    "shape",
    "style",
    "table",
    "tiles",
]
