"""Fields of `TrackMetadata` from what tags, sidecars and tables call them and write into them."""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_args

from data_pipeline.scan.json_text import check_depth, parse_json
from lightning_n2m.data.schema import Split
from lightning_n2m.errors import InputError

# Column names per field, in lower case with spaces and hyphens as underscores.
_NAMES = {
    "title": ("title", "track_title", "track_name", "song", "song_title", "song_name"),
    "artist": ("artist", "artists", "artist_name", "track_artist", "composer", "performer", "band"),
    "album": ("album", "album_name", "album_title", "release"),
    "year": ("year", "date", "release_date", "releasedate", "date_released", "release_year"),
    "licence": ("licence", "license", "license_url", "licence_url"),
    "source": ("source", "url", "track_url", "webpage_url"),
    "genres": (
        "genres", "genre", "subgenre", "subgenres", "style", "styles", "genre_top", "track_genre",
    ),
    "tags": (
        "tags", "tag", "mood", "moods", "theme", "themes", "mood_theme", "mood/theme", "instrument",
        "instruments", "instrumentation", "keywords", "keyword", "aspects", "aspect_list", "labels", "vibe",
    ),
    "descriptions": (
        "descriptions", "description", "caption", "captions", "text", "texts", "prompt", "prompts",
        "sentence", "sentences", "main_caption", "short_caption", "long_caption",
    ),
    "truth": ("truth",),
    "split": ("split",),
}  # fmt: skip
FIELD_OF = {name: key for key, names in _NAMES.items() for name in names}
_TEXTS = ("title", "artist", "album", "year", "licence", "source")
_SPLITS = {
    **{name: name for name in get_args(Split)},
    **{"training": "train", "val": "validation", "valid": "validation", "dev": "validation"},
    "testing": "test",
}
_SPLIT_AT = {
    "genres": re.compile(r"[;/|\0\n]"),
    "tags": re.compile(r"[;|\0\n]"),  # Not at "/": 3/4 is a metre.
    "descriptions": re.compile(r"[\0]"),
}
# What pandas and databases write where a value is missing.
_MISSING = {"", "nan", "<na>", "nat", "none", "null", "n/a", "\\n"}
_MAX_TEXT = 2000  # Characters of a title; no caption or tag is longer than ten times that.
_MAX_ITEMS = 1000  # Genres, tags or captions of a track.
_MAX_LITERAL = 1 << 16  # Characters of a list in one cell: Python's parser takes a hundred times its memory.
_MAX_TRUTH = 1 << 16  # Characters of the exact facts as JSON.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_C1 = re.compile(r"[\x80-\x9f]")
_YEAR = re.compile(r"(?<!\d)(1[0-9]{3}|20[0-9]{2})(?!\d)")
_DAY = re.compile(r"(?<!\d)((?:1[5-9]|20)\d\d)(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?!\d)")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_PASSWORD = re.compile(r"(?<=://)[^/?#\s@]*:[^/?#\s@]*@")


@dataclass
class Ignored:
    """Values that did not become metadata, counted.

    Args:
        columns: Values per column whose name is not known.
        values: Values per column and reason, such as ``year: no year in it``.
    """

    columns: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)


def column_key(name: object) -> str:
    """A column's name as `FIELD_OF` has it: lower case, underscores for spaces and hyphens, no number."""
    key = re.sub(r"[\s-]+", "_", str(name).strip().strip("\ufeff").lower())
    return re.sub(r"[_.]?\d{1,2}$", "", key) or key


def parse_metadata(values: object, place: str, ignored: Ignored | None = None) -> dict[str, Any]:
    """Fields of `TrackMetadata` from a row of a table, or from a sidecar.

    Args:
        values: Values by column.
        place: File and line, for messages.
        ignored: Counts what is not used.

    Raises:
        InputError: if a known column holds a value of the wrong kind.
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f'{place} is not a JSON object; write one like {{"title": "...", "genres": ["..."]}}.'
        )
    ignored = ignored if ignored is not None else Ignored()
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if is_missing(value):
            continue
        key = FIELD_OF.get(column_key(name))
        where = f"{place} '{name}'"
        if key is None:
            ignored.columns[str(name)] += 1
        elif key == "truth":
            fields[key] = {**fields.get(key, {}), **_truth(value, where)}
        elif key == "split":
            fields[key] = _split(value, where)
        elif key in _TEXTS:
            text = _text(value, key, where, partial(_count, ignored, name))
            # Of several columns for one field, such as artist and composer, the first one counts.
            if text:
                fields.setdefault(key, text)
        else:
            items = _items(value, key, where, partial(_count, ignored, name))
            if items:
                fields[key] = tuple(dict.fromkeys([*fields.get(key, ()), *items]))[:_MAX_ITEMS]
    return fields


def _count(ignored: Ignored, name: object, reason: str) -> None:
    ignored.values[f"{name}: {reason}"] += 1


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: null, NaN, an empty list, or a word for these."""
    if isinstance(value, str):
        return value.strip().lower() in _MISSING
    if isinstance(value, float):
        return math.isnan(value)
    # pandas' and datetime's missing values differ from themselves.
    return value is None or value == [] or value == {} or value != value


def clean_text(text: str) -> str:
    """A text without padding and control characters; empty where it was decoded with the wrong encoding.

    Tags often name another encoding than they use. Repaired are UTF-16 of the other byte order, UTF-8 read as
    Latin-1, and Windows' quotation marks and dashes read as Latin-1. Any other replacement character or C1
    control shows that letters are lost, and half a word must not become part of a caption.
    """
    if "\ufffd" in text:
        return ""
    if text.startswith("\ufffe"):
        swapped = text[1:].encode("utf-16-le", "surrogatepass")
        text = swapped.decode("utf-16-be", "replace")
    text = text.replace("\ufeff", "").replace("\r\n", "\n")
    if _C1.search(text):
        text = _redecoded(text)
    if "\ufffd" in text or any("\ud800" <= character <= "\udfff" for character in text):
        return ""
    return _CONTROL.sub(" ", text).strip()


def _redecoded(text: str) -> str:
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        return _C1.sub("", text)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    repaired = data.decode("cp1252", "replace")
    # Letters at these codes, such as "ƒ", are those of a Japanese or Cyrillic encoding.
    if any(repaired[found.start()].isalpha() for found in _C1.finditer(text)):
        return "\ufffd"
    return repaired


def year_of(value: object) -> str:
    """The year that a date names, however it is written; empty where there is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = re.sub(r"(?<=\d)\.0+$", "", str(value).strip())
    match = _DAY.search(text) or _YEAR.search(text)
    return match[1] if match else ""


def split_list(text: str, key: str) -> list[str]:
    """The items of a list in one text: as JSON, Python or numpy writes it, or between separators."""
    text = text.strip()
    if text[:1] in "[({" and text[-1:] in "])}" and len(text) > 1:
        items = _literal(text)
        if items is not None:
            return [part for item in items for part in _separated(item, key)]
        text = text[1:-1] if text[0] == "[" and key != "descriptions" else text
    if key in ("genres", "tags"):
        return [part for item in text.split(",") for part in _separated(item, key)]
    return _separated(text, key)


def _separated(text: str, key: str) -> list[str]:
    if is_missing(text):  # "N/A" is not a list of two genres.
        return []
    return [item.strip() for item in _SPLIT_AT[key].split(text) if not is_missing(item)]


def _literal(text: str) -> list[str] | None:
    """The texts of a list literal; none where it is not one."""
    if len(text) > _MAX_LITERAL:
        return None
    # numpy writes ['a' 'b'], which Python would join to one text.
    if re.search(r"['\"]\s+['\"]", text):
        return [first or second for first, second in _QUOTED.findall(text)]
    value: object
    try:
        value = parse_json(text)
    except ValueError:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if isinstance(value, set):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [str(item) for item in value if item is not None]
    return None


def _text(value: object, key: str, where: str, ignore: Callable[[str], None]) -> str:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    if is_missing(value):
        return ""
    if key == "year" and not isinstance(value, bool | list | tuple | dict):
        year = year_of(value)
        if not year:
            ignore("no year in it")
        return year
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"{value:.15g}" if isinstance(value, float) else str(value)
    if not isinstance(value, str):
        raise InputError(f"{where} is {_shown(value)}; give text.")
    text = clean_text(value)
    if not text and value.strip():
        ignore("not readable in its encoding")
    if len(text) > _MAX_TEXT:
        ignore(f"longer than {_MAX_TEXT} characters")
        return ""
    return _PASSWORD.sub("", text) if key == "source" else text


def _items(value: object, key: str, where: str, ignore: Callable[[str], None]) -> list[str]:
    if isinstance(value, str):
        value = split_list(value, key)
    elif isinstance(value, list | tuple) and all(item is None or isinstance(item, str) for item in value):
        value = [part for item in value if item for part in _separated(item, key)]
    else:
        raise InputError(f"{where} is {_shown(value)}; give a list of texts.")
    items = []
    for item in value:
        text = clean_text(item)
        if not text or len(text) > 10 * _MAX_TEXT:
            ignore("too long" if text else "not readable in its encoding")
        else:
            items.append(text.lower() if key == "genres" else text)
    return items


def _truth(value: object, where: str) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except ValueError as error:
            raise InputError(f"{where} is not JSON ({error}); give a JSON object.") from error
    if not isinstance(value, dict):
        raise InputError(f"{where} is {_shown(value)}; give a JSON object.")
    try:
        check_depth(value)
        if len(json.dumps(value)) > _MAX_TRUTH:
            raise ValueError(f"longer than {_MAX_TRUTH} characters")
    except (ValueError, TypeError) as error:
        raise InputError(f"{where} cannot be kept ({error}); give a short JSON object.") from error
    return value


def _split(value: object, where: str) -> str:
    split = _SPLITS.get(value.strip().lower()) if isinstance(value, str) else None
    if split is None:
        names = ", ".join(get_args(Split))
        raise InputError(f"{where} is {_shown(value)}; give one of {names}, or leave it empty.")
    return split


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
