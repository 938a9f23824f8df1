"""Prompts: for prediction from an argument, a file or standard input, for a test from an evaluation set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from lightning_n2m.data.evaluation_set import EvaluationSet
from lightning_n2m.errors import InputError

T = TypeVar("T")


class Prompts(LightningDataModule):
    """What to make: each prompt as often as variations are wanted.

    Args:
        prompt: One prompt.
        file: Text file with a prompt a line, or ``-`` for standard input; empty lines are passed over.
        variations: Clips of each prompt, of different noise.
        batch_size: Clips made at once.
        evaluation_set: Prompts, and the real music they belong to, for `test`.
    """

    def __init__(
        self,
        prompt: str = "",
        file: str | None = None,
        variations: int = 1,
        batch_size: int = 1,
        evaluation_set: EvaluationSet | None = None,
    ) -> None:
        super().__init__()
        self.prompt, self.file = prompt, file
        self.variations, self.batch_size = variations, batch_size
        self.evaluation_set = evaluation_set

    def prompts(self) -> list[str]:
        """All prompts, in order.

        Raises:
            InputError: if there is none, or the file cannot be read.
        """
        found = [self.prompt]
        if self.file is not None:
            try:
                text = sys.stdin.read() if self.file == "-" else Path(self.file).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(
                    f"The prompt file {self.file} cannot be read ({error}); give a UTF-8 text file."
                ) from error
            found += text.splitlines()
        found = [prompt.strip() for prompt in found if prompt.strip()]
        if not found:
            raise InputError(
                "The prompt is empty; give one with --data.prompt, or a file of them with --data.file."
            )
        if self.variations < 1 or self.batch_size < 1:
            raise InputError("data.variations and data.batch_size must be at least 1.")
        return found

    def predict_dataloader(self) -> DataLoader:
        """Batches of ``{"prompt": ..., "variation": ...}``, kept as lists."""
        items = [
            {"prompt": prompt, "variation": variation}
            for prompt in self.prompts()
            for variation in range(self.variations)
        ]
        return self._loader(items, self.batch_size)

    def test_dataloader(self) -> DataLoader:
        """Batches of ``{"prompt": ..., "key": ..., "variation": ..., "seconds": ...}``: one clip a prompt.

        Raises:
            InputError: if there is no evaluation set.
        """
        if self.evaluation_set is None:
            raise InputError(
                "There is nothing to test on; give --data.evaluation_set Starter, MusicCaps, MagnaTagATune "
                "or AudioSetMusic."
            )
        items = [
            {
                "prompt": item.prompt,
                "key": item.key,
                "variation": number,
                "seconds": self.evaluation_set.seconds,
            }
            for number, item in enumerate(self.evaluation_set.items())
        ]
        return self._loader(items, max(4, self.batch_size))

    def _loader(self, items: list[dict[str, Any]], batch_size: int) -> DataLoader:
        """Batches of this rank's share of the items; every rank has the same number of batches."""
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        batches = share_of_rank(items, batch_size, rank, ranks)
        return DataLoader(batches, batch_size=1, collate_fn=_first)  # type: ignore[arg-type]


def share_of_rank(items: Sequence[T], batch_size: int, rank: int = 0, ranks: int = 1) -> list[list[T]]:
    """Batches of one rank's share of the items, the last ones empty where another rank has more.

    Args:
        items: The items of all ranks.
        batch_size: Items of a batch.
        rank: Number of this rank.
        ranks: Number of ranks.
    """
    share = items[rank::ranks]
    largest_share = len(items[::ranks])
    return [list(share[start : start + batch_size]) for start in range(0, largest_share, batch_size)]


def _first(batches: list[list[Any]]) -> list[Any]:
    # A copy: the evaluation removes prompts from the batch.
    return list(batches[0])
