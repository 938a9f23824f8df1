"""Pages of untrusted text: nothing in it becomes markup, and the markup is well formed."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_n2m.html_page import escape, image, page, player, table

_EMPTY_ELEMENTS = {"meta", "img", "br"}


class _Reader(HTMLParser):
    """Collects elements, attributes and text, and checks that elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _EMPTY_ELEMENTS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _shape(text: str) -> list[tuple[str, list[str]]]:
    return [(tag, sorted(attributes)) for tag, attributes in _Reader(text).elements]


def _page(text: str) -> str:
    return page(
        text,
        [
            f"<h1>{escape(text)}</h1>",
            table((text, "n"), [(escape(text), "1")], numbers=(1,)),
            image(f"{text}.png", text),
            player(f"{text}.flac", text),
        ],
    )


@given(text=st.text(max_size=40))
def test_text_never_adds_an_element_or_an_attribute(text: str) -> None:
    assert _shape(_page(text)) == _shape(_page("x"))


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onload='alert(1)",
        "</title><svg/onload=alert(1)>",
        "</style><script>",
        "<!--",
        "javascript:alert(1)",
    ],
)
def test_attacks_stay_text(text: str) -> None:
    reader = _Reader(_page(text))
    assert _shape(_page(text)) == _shape(_page("x"))
    assert reader.text.count(text) == 4  # title, heading, head and cell of the table
    paths = [attributes["src"] for _, attributes in reader.elements if "src" in attributes]
    assert not any(path.startswith("javascript:") for path in paths if path)


def test_control_characters_and_marks_of_direction_become_spaces() -> None:
    assert escape("a\x1b[31mb\x00\u202ec\ud800d") == "a [31mb c d"
    assert image("\ud800.png", "\ud800")


def test_a_page_fits_narrow_screens_and_both_colour_schemes() -> None:
    text = page("t", [])
    assert 'content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text
