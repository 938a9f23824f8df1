"""Stages from their configs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from lightning_n2m.errors import InputError
from lightning_n2m.stages.base import Stage

# What the function of a trained stage depends on, besides its weights.
_FUNCTION = ("network", "objective", "text", "mel", "scale", "emphasis")


def build_stage(config: dict[str, Any]) -> Stage:
    """Instantiate the stage that a config describes.

    Args:
        config: The ``model`` section; one that comes from a stranger has been through `read_config`.

    Raises:
        InputError: if the config names unknown classes or keys.
    """
    with _one_line_errors():
        parser = _parser()
        return parser.instantiate(parser.parse_object({"model": config}))["model"]


def adopt_function(section: Namespace, base: dict[str, Any]) -> None:
    """Give a stage the network, objective, text encoder and scaling of another one.

    Args:
        section: A parsed ``model`` section, changed in place; one of another class stays as it is.
        base: The ``model`` section of the other stage, as `read_config` returns it.

    Raises:
        InputError: if the other section names unknown classes or keys.
    """
    with _one_line_errors():
        adopted = _parser().parse_object({"model": base}).model
    if adopted.class_path != section.class_path:
        return
    for key in _FUNCTION:
        if key in adopted.init_args:
            section.init_args[key] = adopted.init_args[key]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Stage, "model")
    return parser


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except (ArgumentError, TypeError, ValueError, ArithmeticError, RuntimeError, LookupError) as error:
        raise InputError(f"The stage's config is not valid: {' '.join(str(error).split())}") from error
