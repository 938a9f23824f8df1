"""Prompts: for `predict` from an argument, a file or standard input, for `test` from an evaluation set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from lightning_n2m.data.editing import Edit, plan
from lightning_n2m.data.evaluation_set import EvaluationSet
from lightning_n2m.errors import InputError, check_range

MAX_BYTES = 1 << 26  # of a prompt file

T = TypeVar("T")


class Prompts(LightningDataModule):
    """The clips to generate: each prompt in a number of variations.

    Args:
        prompt: One prompt, as free text; ``-`` reads prompts from standard input.
        file: Text file with a prompt a line, or ``-`` for standard input; empty lines are skipped.
        variations: Clips of each prompt, of different noise.
        batch_size: Clips generated in one batch.
        evaluation_set: Prompts and their reference recordings, for `test`.
        audio: Recording to continue, repair or vary; any format, rate and number of channels.
        extend: Seconds to generate after the recording, or before it if negative.
        regenerate: Regions of the recording to generate again, in seconds: ``8:12,20:24``.
        strength: How much the regenerated regions may differ from the recording, from 0.01 to 1; without
            regions, the whole recording is varied.
        sections: A long piece by a plan: ``0:30 calm piano; 30:60 drums enter``.
        resampling: How often each sampler step is run where a part is known.
        corrections: Iterations of the correction of each data estimate by the known part.
    """

    def __init__(
        self,
        prompt: str = "",
        file: str | None = None,
        variations: int = 1,
        batch_size: int = 1,
        evaluation_set: EvaluationSet | None = None,
        audio: str | None = None,
        extend: float = 0.0,
        regenerate: str = "",
        strength: float | None = None,
        sections: str = "",
        resampling: int = 1,
        corrections: int = 0,
    ) -> None:
        super().__init__()
        check_range("data.variations", variations, 1, 1_000_000)
        check_range("data.batch_size", batch_size, 1, 1_000_000)
        self.prompt, self.file = ("", "-") if prompt.strip() == "-" else (prompt, file)
        self.variations, self.batch_size = variations, batch_size
        self.evaluation_set = evaluation_set
        self.audio, self.extend, self.regenerate, self.strength = audio, extend, regenerate, strength
        self.sections, self.resampling, self.corrections = sections, resampling, corrections
        self._remaining: list[dict[str, Any]] | None = None

    @property
    def is_edit(self) -> bool:
        """Whether a recording or a plan of sections takes part."""
        return self.audio is not None or bool(self.sections.strip())

    def edit(self) -> Edit | None:
        """The plan of the edit, with the recording read; null for clips of prompts.

        Raises:
            InputError: if the recording cannot be used, or options contradict each other.
        """
        return plan(
            self.audio,
            self.extend,
            self.regenerate,
            self.strength,
            self.sections,
            self.resampling,
            self.corrections,
        )

    def prompts(self) -> list[str]:
        """All prompts, in order, each once.

        Raises:
            InputError: if there is none, or the file cannot be read.
        """
        lines = [self.prompt]
        if self.file is not None:
            # Not splitlines(): it also splits at control characters inside a line.
            lines += _read_text(self.file).replace("\r\n", "\n").split("\n")
        prompts = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
        if not prompts and self.is_edit:
            return [""]  # The null text: the recording, or the sections, decide.
        if not prompts:
            raise InputError(
                "The prompt is empty; give one with --data.prompt, or a file of them with --data.file."
            )
        for prompt in prompts:
            if any("\ud800" <= character <= "\udfff" for character in prompt):
                raise InputError(f"The prompt {prompt[:60]!r} is not valid UTF-8; type it again.")
        return prompts

    def items(self) -> list[dict[str, Any]]:
        """One ``{"prompt": ..., "variation": ...}`` for each clip."""
        if self._remaining is None:
            prompts = self.prompts()
            self._remaining = [{"prompt": p, "variation": n} for p in prompts for n in range(self.variations)]
        return self._remaining

    def keep(self, items: list[dict[str, Any]]) -> None:
        """Generate only these clips: the others exist already."""
        self._remaining = items

    def predict_dataloader(self) -> DataLoader:
        """Batches of ``{"prompt": ..., "variation": ...}``, kept as lists; ranks share the clips."""
        return self._loader(self.items(), self.batch_size)

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


def _read_text(file: str) -> str:
    """Text of a prompt file, without a byte order mark."""
    try:
        if file == "-":
            text = sys.stdin.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as stream:
                text = stream.read(MAX_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        name = "standard input" if file == "-" else file
        raise InputError(
            f"The prompt file {name} cannot be read ({reason}); give a UTF-8 text file."
        ) from error
    if len(text) > MAX_BYTES:
        raise InputError(f"The prompt file {file} holds more than {MAX_BYTES} bytes; give a prompt a line.")
    return text.removeprefix("\ufeff")


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
