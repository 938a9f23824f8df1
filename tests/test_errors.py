"""Messages never carry control characters to a terminal."""

from __future__ import annotations

import pickle

from lightning_n2m.errors import InputError, printable


def test_control_characters_become_escapes_and_letters_stay() -> None:
    assert printable("Träumerei 東京 ليل") == "Träumerei 東京 ليل"
    assert printable("\x1b[31mred\x07\n") == "\\x1b[31mred\\x07\\n"
    assert printable("a\u202eb\x9bc\ud800") == "a\\u202eb\\x9bc\\ud800"


def test_messages_of_input_errors_are_printable_also_from_another_process() -> None:
    error = InputError("x\x1b]0;title\x07.wav cannot be read.")
    assert str(error) == "x\\x1b]0;title\\x07.wav cannot be read."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
