"""Pages of untrusted text: nothing in it becomes markup, and the markup is well formed."""

from __future__ import annotations

from html.parser import HTMLParser

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_n2m.html_page import bar, bars, cards, escape, image, page, player, table

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
            table(("a", text, "b", "c"), [(escape(text), "1", bar(0.3), "2")], numbers=(1,)),
            bars((text, "clips"), [(text, 2.0, text), ("b", 1.0, "1")]),
            cards([f"<h2>{escape(text)}</h2><p>{escape(text)}</p>"]),
            image(f"{text}.png", text, is_wide=True),
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
    # Title, heading, head and cell of both tables, three texts of the bars, and two of the card.
    assert reader.text.count(text) == 11
    paths = [attributes["src"] for _, attributes in reader.elements if "src" in attributes]
    assert not any(path.startswith("javascript:") for path in paths if path)


def test_control_characters_and_marks_of_direction_become_spaces() -> None:
    assert escape("a\x1b[31mb\x00\u202ec\ud800d") == "a [31mb c d"
    assert image("\ud800.png", "\ud800")


def test_a_page_fits_narrow_screens_and_both_colour_schemes() -> None:
    text = page("t", [])
    assert 'content="width=device-width' in text
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("text", ["x", "<script>", "a & b", '"', "\u202e\x07\ud800", "x" * 300])
def test_pages_are_valid_html(text: str) -> None:
    html5lib.HTMLParser(strict=True).parse(_page(text))


def test_the_strict_parser_finds_errors() -> None:
    with pytest.raises(html5lib.html5parser.ParseError):
        html5lib.HTMLParser(strict=True).parse("<!doctype html><p><div></p>")


def test_bars_are_shares_of_the_longest_and_stay_in_their_cell() -> None:
    text = bars(("genre", "clips"), [("rock", 4.0, "4"), ("folk", 1.0, "1"), ("none", 0.0, "0")])
    assert [part.partition("%")[0] for part in text.split("width: ")[1:]] == ["100.0", "25.0", "0.0"]
    for share, width in ((-1.0, "0.0%"), (7.0, "100.0%"), (float("nan"), "0.0%")):
        assert f"width: {width}" in bar(share)
    assert "width: 0.0%" in bars(("a", "b"), [("x", 0.0, "0")]) and "NaN" not in bars(("a", "b"), [])


def test_wide_tables_name_their_columns_in_each_cell_for_narrow_screens() -> None:
    wide = table(("metric", "value", "n", "model"), [("FAD", "1", "2", "m")])
    assert 'class="stack"' in wide and 'data-label="value"' in wide
    assert 'class="stack"' not in table(("a", "b"), [("1", "2")])


def test_players_load_on_demand() -> None:
    assert 'preload="none"' in player("a.flac", "a")
