"""The one list of instruments, against facts of the General MIDI standard."""

from __future__ import annotations

from lightning_n2m.data.instruments import NAMES, family_by_name, family_of, is_bass


def test_programs_are_those_of_general_midi() -> None:
    assert len(NAMES) == 128
    standard = {0: "piano", 40: "violin", 56: "trumpet", 73: "flute", 105: "banjo", 114: "steel drums"}
    assert {program: NAMES[program] for program in standard} == standard
    assert [family_of(program) for program in (0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80)] == [
        "piano", "mallets", "organ", "guitar", "bass", "strings", "ensemble", "brass", "woodwind", "woodwind",
        "synth",
    ]  # fmt: skip
    assert all(is_bass(program) for program in (32, 39, 43, 58)) and not is_bass(0)


def test_every_name_has_one_family_and_effects_have_none() -> None:
    families = family_by_name()
    assert families["double bass"] == "bass"  # program 32, and 43 among the strings
    assert families["fiddle"] == "folk" and families["strings"] == "ensemble"
    assert not {"gunshot", "applause", "orchestra hit"} & set(families)
    assert set(families) <= set(NAMES)
