"""The HTML that reports and statistics share: escaping, one page skeleton, one stylesheet."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

# Control characters and the marks that reverse the direction of text: they never belong to a caption.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")

_STYLESHEET = """
:root { color-scheme: light dark; --text: #1c1c1c; --faint: #555; --line: #d5d5d5; --back: #fff;
  --link: #0b57a4; --bar: #2f6fb5; --card: #f6f6f7 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --faint: #b0b0b0; --line: #444; --back: #16181b; --link: #8ab8f0; --bar: #6ea8e8;
    --card: #202327 }
}
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; color: var(--text); background: var(--back) }
main { max-width: 90rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere }
main > p, main > pre { max-width: 60rem }
h1 { line-height: 1.2 } h2 { margin-top: 2rem } a { color: var(--link) } small { color: var(--faint) }
.scroll { overflow-x: auto } .scroll img { max-width: none; width: max(100%, 48rem) }
table { border-collapse: collapse }
td, th { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
td { min-width: 4rem } tbody th { font-weight: normal; max-width: 40rem }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.bars { width: 100%; max-width: 60rem } .bars tbody th { width: 35% }
.bar { width: 40%; min-width: 5rem } .bar span { display: block; height: 1.1em; margin-top: .2em;
  min-width: 1px; background: var(--bar) }
span.bar { display: block; width: 100% }
pre { overflow-x: auto; white-space: pre-wrap }
img { max-width: 100%; height: auto; display: block; margin: .5rem 0; background: #fff }
audio { width: 100%; max-width: 30rem; display: block }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); gap: 1rem }
.cards > article { background: var(--card); border-radius: .5rem; padding: .75rem 1rem; min-width: 0 }
.cards h2, .cards h3 { font-size: 1rem; margin: 0 0 .5rem } .cards p { margin: .4rem 0 }
@media (max-width: 40rem) {
  .stack thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden }
  .stack, .stack tbody, .stack tr, .stack th, .stack td { display: block; width: auto; border: 0 }
  .stack tbody tr { border-bottom: 1px solid var(--line); padding: .5rem 0 }
  .stack tbody td, .stack tbody th { padding: .1rem 0; text-align: left; min-width: 0 }
  .stack tbody th { font-weight: 600 }
  .stack td[data-label]::before { content: attr(data-label) ": "; color: var(--faint) }
  .stack .bar { width: 100% } .bars td, .bars th { padding: .3rem .3rem }
}
"""


def printable(text: object) -> str:
    """Text in which control characters and marks of direction are spaces."""
    return _CONTROLS.sub(" ", str(text))


def escape(text: object) -> str:
    """Text for HTML, also inside a quoted attribute; control characters become spaces."""
    return html.escape(printable(text))


def page(title: str, body: Iterable[str]) -> str:
    """A whole page, readable from 400 to 1,600 px, in light and dark.

    Args:
        title: Title as plain text.
        body: Pieces of HTML; every text in them must have gone through `escape`.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Titles and captions come from strangers: even a missed escape must not run.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"script-src 'none'; object-src 'none'\">"
        f"<title>{escape(title)}</title><style>{_STYLESHEET}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()) -> str:
    """A table whose first column names the rows. Wide ones become one block for each row on narrow screens.

    Args:
        head: Headings as plain text.
        rows: Cells as HTML.
        numbers: Columns that hold numbers, aligned to the right.
    """
    right = set(numbers)
    kind = [' class="number"' if column in right else "" for column in range(len(head))]
    heading = "".join(
        f'<th scope="col"{kind[column]}>{escape(text)}</th>' for column, text in enumerate(head)
    )
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(
            f'<td data-label="{escape(head[column])}"{kind[column]}>{cell}</td>'
            for column, cell in enumerate(row[1:], start=1)
        )
        + "</tr>"
        for row in rows
    )
    form = ' class="stack"' if len(head) > 3 else ""
    return f"<table{form}><thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table>"


def bar(share: float) -> str:
    """A bar as content of a table cell; the number stands beside it as text.

    Args:
        share: Length from 0 to 1; other values are cut.
    """
    percent = 100 * min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    return f'<span style="width: {percent:.1f}%"></span>'


def bars(head: tuple[str, str], rows: Sequence[tuple[str, float, str]]) -> str:
    """A bar chart whose labels and numbers are text: readable at every width, selectable, and searchable.

    Args:
        head: What the labels are, and what the numbers are, with their unit.
        rows: Label as plain text, value, and the value as text.
    """
    longest = max((value for _, value, _ in rows if math.isfinite(value)), default=0.0)
    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th><td class="number">{escape(text)}</td>'
        f'<td class="bar" aria-hidden="true">{bar(value / longest if longest > 0 else 0.0)}</td></tr>'
        for label, value, text in rows
    )
    return (
        f'<table class="bars"><thead><tr><th scope="col">{escape(head[0])}</th>'
        f'<th scope="col" class="number">{escape(head[1])}</th><td aria-hidden="true"></td></tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def cards(items: Iterable[str]) -> str:
    """Items side by side where the screen has room.

    Args:
        items: Each the HTML of one item, which begins with a heading.
    """
    return '<div class="cards">' + "".join(f"<article>{item}</article>" for item in items) + "</div>"


def image(path: str, alt: str, is_wide: bool = False) -> str:
    """An image, loaded when it comes into view.

    Args:
        path: Its path.
        alt: What it shows.
        is_wide: Scroll sideways on narrow screens instead of making it small.
    """
    element = f'<img src="{_url(path)}" alt="{escape(alt)}" loading="lazy">'
    if not is_wide:
        return element
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(alt)}">{element}</div>'


def player(path: str, label: str) -> str:
    """An audio player that downloads nothing before it is used."""
    return f'<audio controls preload="none" src="{_url(path)}" aria-label="{escape(label)}"></audio>'


def _url(path: str) -> str:
    return escape(quote(path, errors="replace"))
