"""Prompts: for prediction from an argument, a file or standard input, for a test from an evaluation set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from lightning_n2m.data.evaluation_set import EvaluationSet
from lightning_n2m.errors import InputError


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
        return DataLoader(items, batch_size=self.batch_size, collate_fn=_as_list)  # type: ignore[arg-type]

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
        return DataLoader(items, batch_size=max(4, self.batch_size), collate_fn=_as_list)  # type: ignore[arg-type]


def _as_list(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return items
