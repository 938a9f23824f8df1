"""The text batch of a clip, of which one element is drawn at each step (section 4.1)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from lightning_n2m.data.schema import Captions, Clip
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import derive_seed


def short_texts(clip: Clip, captions: Captions | None) -> list[str]:
    """Title, entity tags and short pseudo-labels of a clip, without repetitions."""
    texts = [clip.title, clip.artist, *clip.genres, *clip.tags, *(captions.short if captions else ())]
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def long_texts(clip: Clip, captions: Captions | None) -> list[str]:
    """Sentences about a clip: its own descriptions and long pseudo-labels."""
    texts = [*clip.descriptions, *(captions.long if captions else ())]
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


def pack(texts: Sequence[str], budget: int, count_tokens: Callable[[str], int]) -> list[str]:
    """Join short texts by commas into pieces of at most ``budget`` tokens.

    Pieces are cut between texts. A single text above the budget stands alone; the encoder cuts it.
    """
    pieces: list[str] = []
    for text in texts:
        joined = f"{pieces[-1]}, {text}" if pieces else text
        if pieces and count_tokens(joined) <= budget:
            pieces[-1] = joined
        else:
            pieces.append(text)
    return pieces


class TextBatch:
    """Draws the caption of a clip: each long text is an element, and so is each piece of short texts.

    Args:
        budget: Token length of a piece (table 2), without special tokens.
        count_tokens: Length of a text in the encoder's tokens.
        pseudo_labels: Share of draws from the pseudo-labels only; the other draws are from the track's own
            texts only. All are elements of one batch, as in the paper, when null.
        tag_orders: Orders in which the short texts of a clip are joined, fixed for each clip; a new order
            each time, as in the paper, when null. A finite number lets `drawable` list all captions.

    Raises:
        InputError: if the share is not between 0 and 1, or there are less than one order.
    """

    def __init__(
        self,
        budget: int,
        count_tokens: Callable[[str], int],
        pseudo_labels: float | None = None,
        tag_orders: int | None = None,
    ) -> None:
        if pseudo_labels is not None and not 0 <= pseudo_labels <= 1:
            raise InputError(
                f"data.pseudo_labels is {pseudo_labels:g}; give a share between 0 and 1, or null."
            )
        if tag_orders is not None and tag_orders < 1:
            raise InputError(f"data.tag_orders is {tag_orders}; give 1 or more, or null.")
        self.budget, self.count_tokens = budget, count_tokens
        self.pseudo_labels, self.tag_orders = pseudo_labels, tag_orders

    def elements(self, clip: Clip, captions: Captions | None, draw: random.Random) -> list[str]:
        """All elements of a clip; the order of the short texts is drawn each time."""
        short = short_texts(clip, captions)
        if self.tag_orders is None:
            draw.shuffle(short)
        else:
            short = _in_order(clip.key, short, draw.randrange(self.tag_orders))
        return long_texts(clip, captions) + pack(short, self.budget, self.count_tokens)

    def drawable(self, clip: Clip, captions: Captions | None) -> list[str]:
        """What `draw` can return for a clip, except for short texts in a random order, which have no end."""
        sources: list[tuple[Clip, Captions | None]] = [(clip, captions)]
        if self.pseudo_labels is not None:
            sources = [(clip, None), (_without_texts(clip), captions)]
        texts: dict[str, None] = {}
        for known, labels in sources:
            texts.update(dict.fromkeys(long_texts(known, labels)))
            short = short_texts(known, labels)
            # A single short text has but one order.
            orders = self.tag_orders if self.tag_orders is not None else int(len(short) == 1)
            for number in range(orders):
                ordered = _in_order(known.key, short, number)
                texts.update(dict.fromkeys(pack(ordered, self.budget, self.count_tokens)))
        return list(texts)

    def draw(self, clip: Clip, captions: Captions | None, draw: random.Random) -> str:
        """One element; the empty string, which is the null text, where nothing is known."""
        if self.pseudo_labels is None:
            elements = self.elements(clip, captions, draw)
        else:
            own = self.elements(clip, None, draw)
            labels = self.elements(_without_texts(clip), captions, draw)
            first, second = (labels, own) if draw.random() < self.pseudo_labels else (own, labels)
            elements = first or second
        return draw.choice(elements) if elements else ""


def _without_texts(clip: Clip) -> Clip:
    """A clip of which only its identity is known."""
    return Clip(clip.track_id, clip.clip, clip.start_s, clip.duration_s, clip.sample_rate)


def _in_order(key: str, texts: Sequence[str], number: int) -> list[str]:
    """The texts of a clip in one of its fixed orders."""
    ordered = list(texts)
    random.Random(derive_seed(key, "tag order", number)).shuffle(ordered)
    return ordered
