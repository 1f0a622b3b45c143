"""One self-contained HTML page: its own style, figures inside, nothing loaded from anywhere."""

from collections.abc import Sequence
from html import escape

from fusionscope.records import ATOMS
from fusionscope.records.heatmap import TITLES
from fusionscope.records.tables import Rows
from fusionscope.study.page.theme import COLOURS, SYMBOLS

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1c1d; --muted: #5b5c5d; --grid: #d3d4d5; --band: #eceded;
  --page: #ffffff; --card: #ffffff; --line: #d9dadb; --accent: #0b5cad; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #eceded; --muted: #a9abad; --grid: #3d4043;
  --band: #2a2d30; --page: #17191b; --card: #1e2123; --line: #383b3e; --accent: #7fb8f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px 20px 48px; max-width: 1360px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; } h2 { font-size: 20px; margin: 40px 0 6px; }
h3 { font-size: 15px; margin: 0 0 6px; font-weight: 600; } p { margin: 6px 0; max-width: 80ch; }
.lead, figcaption, .note { color: var(--muted); } a { color: var(--accent); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 200px), 1fr)); gap: 12px;
  margin: 20px 0; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; background: var(--card); }
.tile b { display: block; font-size: 20px; line-height: 1.3; } .tile span { color: var(--muted); font-size: 13px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 16px;
  margin: 12px 0; align-items: start; }
.cards.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 640px), 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; padding: 12px; background: var(--card);
  min-width: 0; break-inside: avoid; }
figure.big { max-width: 900px; }
figure svg { display: block; width: 100%; height: auto; } figcaption { font-size: 13px; margin-top: 6px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; padding: 0; margin: 10px 0; list-style: none;
  font-size: 14px; }
.scroll { overflow-x: auto; margin: 10px 0; } table { border-collapse: collapse; font-size: 13.5px;
  font-variant-numeric: tabular-nums; } caption { text-align: left; color: var(--muted); padding-bottom: 4px; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; } ol.cites { padding-left: 20px; font-size: 13.5px; max-width: 100ch; }
.scroll.tall { max-height: 480px; overflow-y: auto; }
@media print { body { padding: 0; max-width: none; font-size: 11px; } .scroll { overflow: visible; }
  h2, caption, thead { break-after: avoid; } tr { break-inside: avoid; } .cards { grid-template-columns: 1fr 1fr; }
  table { font-size: 8.5px; } th, td { padding: 3px 8px 3px 0; } th { white-space: normal; } }
@media screen and (max-width: 700px) { figure.big { overflow-x: auto; }
  figure.big svg { width: 640px; max-width: none; } }
"""


def page(title: str, lead: str, parts: Sequence[str]) -> str:
    """The whole document.

    Args:
        title: Title and heading.
        lead: One sentence under it.
        parts: Sections, as HTML.
    """
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An icon of its own keeps the browser from asking for /favicon.ico.
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n'
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{body}\n</body>\n</html>\n'
    )


def section(title: str, *parts: str, note: str = "") -> str:
    """A heading, a note and what belongs under it."""
    about = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{about}{''.join(parts)}</section>"


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """Numbers to see first: (value, what it is)."""
    cells = "".join(f'<div class="tile"><b>{escape(v)}</b><span>{escape(what)}</span></div>' for v, what in facts)
    return f'<div class="tiles">{cells}</div>'


def card(svg: str, *, title: str = "", caption: str = "", kind: str = "") -> str:
    """A figure with a heading and a caption."""
    head = f"<h3>{escape(title)}</h3>" if title else ""
    foot = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="{kind}">{head}{svg}{foot}</figure>'


def cards(figures: Sequence[str], *, wide: bool = False) -> str:
    """Cards side by side where there is room, one below the other on a phone."""
    return f'<div class="cards{" wide" if wide else ""}">{"".join(figures)}</div>'


def legend() -> str:
    """The four atoms: colour, symbol and name."""
    items = "".join(
        f'<li><span style="color:{COLOURS[atom]}" aria-hidden="true">{SYMBOLS[atom]}</span> {TITLES[atom]}</li>'
        for atom in ATOMS
    )
    return f'<ul class="legend">{items}</ul>'


def paragraph(text: str) -> str:
    """Running text."""
    return f"<p>{escape(text)}</p>"


def citations(sources: Sequence[str]) -> str:
    """A numbered list of sources."""
    return f'<ol class="cites">{"".join(f"<li>{escape(source)}</li>" for source in sources)}</ol>'


def table(rows: Rows, caption: str = "") -> str:
    """A table that scrolls by itself where it is too wide for the screen; the first row is its header."""
    head, *body = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    head = head.replace("td>", "th>")
    about = f"<caption>{escape(caption)}</caption>" if caption else ""
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return f'<div class="scroll"><table>{about}<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
