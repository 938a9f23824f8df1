"""Checks of a page that Chromium shows: HTML, accessibility, width, and the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import html5lib
from axe_playwright_python.sync_playwright import Axe

SIZES = ((400, 800), (1600, 900))  # px
SCHEMES = ("light", "dark")
# The background is transparent (white) or light, or it is dark.
_HAS_SCHEME = """scheme => {
  const color = getComputedStyle(document.body).backgroundColor;
  const [red, green, blue, alpha] = color.match(/[0-9.]+/g).map(Number);
  return ((alpha ?? 1) < 0.5 || red + green + blue > 600) === (scheme === "light");
}"""


@contextmanager
def open_page(browser: Any, url: str, hosts: tuple[str, ...] = ("file:",)) -> Iterator[Any]:
    """A page in a tab; errors on the console, and requests to other hosts, fail the test at the end."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(300_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on(
        "console",
        lambda message: problems.append(f"console: {message.text}") if message.type == "error" else None,
    )
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((*hosts, "data:", "blob:"))
            else problems.append(f"other host: {request.url}")
        ),
    )
    try:
        page.goto(url)
        yield page
    finally:
        page.close()
    assert problems == []


def serious_findings(page: Any) -> list[tuple[str, list[str]]]:
    """What axe-core finds serious or critical: the rule, and the elements that break it."""
    violations = Axe().run(page).response["violations"]
    return [
        (finding["id"], [node["html"][:200] for node in finding["nodes"]])
        for finding in violations
        if finding["impact"] in ("serious", "critical")
    ]


def too_wide(page: Any) -> list[str]:
    """Elements that reach beyond the right edge of a page that scrolls sideways; none if it does not."""
    return page.evaluate(
        """() => {
          const {scrollWidth, clientWidth} = document.documentElement;
          if (scrollWidth <= clientWidth) return [];
          return [`${scrollWidth} px in ${clientWidth} px`, ...[...document.querySelectorAll("body *")]
            .filter(element => element.getBoundingClientRect().right > clientWidth + 0.5)
            .map(element => element.outerHTML.slice(0, 120))];
        }"""
    )


def check_looks(page: Any) -> None:
    """At 400 and 1,600 px, in light and dark: no sideways scrolling, and no serious findings of axe-core."""
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            # Gradio switches its theme by a script.
            page.wait_for_function(_HAS_SCHEME, arg=scheme)
            assert too_wide(page) == [], (width, scheme)
            assert serious_findings(page) == [], (width, scheme)


def check_file(browser: Any, path: Path) -> None:
    """Check a page in a file: valid HTML that looks well; nothing is missing and no error is printed."""
    html5lib.HTMLParser(strict=True).parse(path.read_text(encoding="utf-8"))
    with open_page(browser, path.as_uri()) as page:
        check_looks(page)
