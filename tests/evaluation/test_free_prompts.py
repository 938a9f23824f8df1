"""Prompts in people's own words: their tags and their references."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from data_pipeline.starter_corpus.instruments import INSTRUMENTS
from data_pipeline.starter_corpus.styles import BANDS, CHAMBER
from lightning_n2m.data.evaluation_set import EvaluationItem
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.free_prompts import FreePrompts, free_prompts
from lightning_n2m.evaluation.tagger import TAGS, tag_auc


def test_there_are_64_prompts_about_what_the_corpus_has() -> None:
    prompts = free_prompts()
    assert len(prompts) == 64 == len({prompt.text for prompt in prompts})
    genres = {style.genre for style in (*BANDS, *CHAMBER)}
    leads = {(style.genre, lead) for style in (*BANDS, *CHAMBER) for lead in style.leads}
    for prompt in prompts:
        assert set(prompt.tags) <= set(TAGS) and prompt.tags
        assert prompt.genre in genres and prompt.lead in INSTRUMENTS
        assert (prompt.genre, prompt.lead) in leads, prompt
    counts = Counter(tag for prompt in prompts for tag in prompt.tags)
    # A tag counts from five prompts on.
    assert sum(count >= 5 for count in counts.values()) >= 20


def item(key: str, genre: str, lead: str) -> EvaluationItem:
    return EvaluationItem(key, "its own caption", {"genre": genre, "lead": lead}, "shard", 30.0)


@pytest.fixture
def held_out(monkeypatch: pytest.MonkeyPatch) -> list[EvaluationItem]:
    recordings = [item(f"fit-{n:02d}", p.genre, p.lead) for n, p in enumerate(free_prompts())]
    recordings += [item(f"other-{n:02d}", "polka", "accordion") for n in range(64)]
    monkeypatch.setattr(FreePrompts, "_read", lambda self: recordings)
    return recordings


def test_the_reference_of_a_prompt_has_its_genre_and_lead(held_out: list[EvaluationItem]) -> None:
    items = FreePrompts("shards").items()
    assert [item.prompt for item in items] == [prompt.text for prompt in free_prompts()]
    assert [item.key for item in items][:2] == ["free-01", "free-02"]
    by_key = {recording.key: recording for recording in held_out}
    source = FreePrompts("shards")
    source.items()
    assert len(source._reference_of) == 64
    for recording_key, key in source._reference_of.items():
        prompt, truth = free_prompts()[int(key[-2:]) - 1], by_key[recording_key].truth
        assert (truth["genre"], truth["lead"]) == (prompt.genre, prompt.lead)
    # Fewer prompts are the first of them, with the same references.
    assert FreePrompts("shards", clips=5).items() == items[:5]


def test_expected_tags_replace_the_words_of_the_prompt() -> None:
    truth = torch.arange(20) % 2 == 0
    logits = torch.randn(20, len(TAGS), generator=torch.Generator().manual_seed(0))
    logits[:, TAGS.index("piano")] = truth.float()
    tags: list[set[str]] = [{"piano"} if named else set() for named in truth.tolist()]
    assert tag_auc(tags, logits).tags == {"piano": (10, 1.0)}
    assert tag_auc(["piano" if named else "" for named in truth.tolist()], logits).tags == {
        "piano": (10, 1.0)
    }


@pytest.mark.usefixtures("held_out")
def test_wrong_settings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="above 0"):
        FreePrompts("shards", clips=0).items()
    monkeypatch.setattr(FreePrompts, "_read", lambda self: [item("a", "ska", "trombone")])
    with pytest.raises(InputError, match="fewer than the 64 prompts"):
        FreePrompts("shards").items()


def test_the_prompts_are_read_from_a_file_of_the_package() -> None:
    import lightning_n2m.evaluation

    assert (Path(lightning_n2m.evaluation.__file__).parent / "free_prompts.toml").is_file()
