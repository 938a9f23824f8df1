"""Text of strangers in Markdown: captions, titles, keys and licences show as plain text and nothing else."""

from __future__ import annotations

import re

from lightning_n2m.html_page import printable

# Characters that begin emphasis, code, links, images, HTML, headings, tables, entities or footnotes.
_ACTIVE = re.compile(r"([\\`*_{}\[\]()#+!|~^$])")
# Renderers turn plain addresses into links.
_LINK = re.compile(r"(?i)(https?|ftp|mailto|javascript|data|file)(:)|\b(www)(\.)|(@)")


def escape_markdown(text: object) -> str:
    """Text on one line in which no Markdown and no HTML is active.

    Args:
        text: Any text; control characters and line breaks become spaces.
    """
    line = " ".join(printable(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _ACTIVE.sub(r"\\\1", line)
    return _LINK.sub(lambda match: "".join(_entity(part) for part in match.groups() if part), line)


def code_span(text: object) -> str:
    """Text on one line as a code span, without the backticks that would end it."""
    line = " ".join(printable(text).split()).replace("`", "'").replace("|", "/")
    return f"`{line or ' '}`"


def _entity(part: str) -> str:
    """A separator of an address as an entity; other text as it is."""
    return f"&#{ord(part)};" if part in ":.@" else part
