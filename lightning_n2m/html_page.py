"""The HTML that reports and statistics share: escaping, one page skeleton, one stylesheet."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

# Control characters and the marks that reverse the direction of text: they never belong to a caption.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")

_STYLESHEET = """
:root { color-scheme: light dark; --text: #1c1c1c; --faint: #555; --line: #d5d5d5; --back: #fff;
  --link: #0b57a4 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --faint: #b0b0b0; --line: #444; --back: #16181b; --link: #8ab8f0 }
}
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; color: var(--text); background: var(--back) }
main { max-width: 72rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere }
h1 { line-height: 1.2 } h2 { margin-top: 2rem } a { color: var(--link) } small { color: var(--faint) }
.scroll { overflow-x: auto } table { border-collapse: collapse }
td, th { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
td { min-width: 4rem } .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
pre { overflow-x: auto; white-space: pre-wrap }
img { max-width: 100%; height: auto; display: block; margin: .5rem 0; background: #fff }
audio { width: 100%; min-width: 12rem; max-width: 30rem; display: block }
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
    """A table that scrolls sideways on a narrow screen.

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
        "<tr>" + "".join(f"<td{kind[column]}>{cell}</td>" for column, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Table"><table>'
        f"<thead><tr>{heading}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def image(path: str, alt: str) -> str:
    """An image, loaded when it comes into view."""
    return f'<img src="{_url(path)}" alt="{escape(alt)}" loading="lazy">'


def player(path: str, label: str) -> str:
    """An audio player that downloads nothing before it is used."""
    return f'<audio controls preload="none" src="{_url(path)}" aria-label="{escape(label)}"></audio>'


def _url(path: str) -> str:
    return escape(quote(path, errors="replace"))
