"""Messages never carry control characters to a terminal."""

from __future__ import annotations

import pickle
import sys

import pytest
from torch._utils import ExceptionWrapper

from lightning_n2m.errors import InputError, printable


def test_control_characters_become_escapes_and_letters_stay() -> None:
    assert printable("Träumerei 東京 ليل") == "Träumerei 東京 ليل"
    assert printable("\x1b[31mred\x07\n") == "\\x1b[31mred\\x07\\n"
    assert printable("a\u202eb\x9bc\ud800") == "a\\u202eb\\x9bc\\ud800"


def test_messages_of_input_errors_are_printable_also_from_another_process() -> None:
    error = InputError("x\x1b]0;title\x07.wav cannot be read.")
    assert str(error) == "x\\x1b]0;title\\x07.wav cannot be read."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_error_of_a_loader_worker_keeps_its_own_line() -> None:
    try:
        raise InputError("audio.tar is damaged; build it again.")
    except InputError:
        in_worker = ExceptionWrapper(sys.exc_info(), where="in DataLoader worker process 0")
    with pytest.raises(InputError, match=r"^audio\.tar is damaged; build it again\.$"):
        in_worker.reraise()
