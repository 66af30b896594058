"""From flags and WSTAR_ variables to `Settings`; flags win."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

import wstar
from wstar.errors import InvalidInput
from wstar_service.settings import Address, LogFormat, Meaning, Settings

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def read_settings(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read flags, then WSTAR_ variables, then defaults.

    Raises SystemExit with status 2 and a line on stderr for a value that is not allowed.
    """
    parser, readers = _parser()
    for name, read in readers.items():
        variable = f"WSTAR_{name.upper()}"
        if variable in environ:
            try:
                parser.set_defaults(**{name: read(environ[variable])})
            except argparse.ArgumentTypeError as error:
                parser.error(f"{variable}: {error}")
    try:
        settings = Settings(**vars(parser.parse_args(argv)))
        settings.check_graphs()
    except InvalidInput as error:
        parser.error(f"{error} (--{error.field.replace('_', '-')})")
    return settings


def _parser() -> tuple[argparse.ArgumentParser, dict[str, Callable[[str], Any]]]:
    """Describe the flags; the second part reads the text of each setting, by name."""
    parser = argparse.ArgumentParser(
        prog="wstar-serve",
        description="Serve a repository of wstar graphs over gRPC.",
        epilog="Every flag is also a variable: --max-batch is WSTAR_MAX_BATCH. Flags win.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {wstar.__version__}")
    kinds = get_type_hints(Settings)
    readers: dict[str, Callable[[str], Any]] = {}
    for setting in fields(Settings):
        meaning: Meaning = setting.metadata["meaning"]
        flag, default = f"--{setting.name.replace('_', '-')}", setting.default
        # argparse would take a percent sign for the beginning of a format.
        text = meaning.text.replace("%", "%%")
        if kinds[setting.name] is bool:
            readers[setting.name] = _boolean
            parser.add_argument(
                flag,
                action=argparse.BooleanOptionalAction,
                default=default,
                help=f"{text} (default: {'yes' if default else 'no'})",
            )
        else:
            read = readers[setting.name] = _reader(kinds[setting.name], meaning)
            shown = "" if default is None else f" (default: {default})"
            parser.add_argument(
                flag, type=read, metavar=meaning.unit, default=default, help=text + shown
            )
    return parser, readers


def _reader(kind: object, meaning: Meaning) -> Callable[[str], Any]:
    readers: dict[object, Callable[[str], Any]] = {
        Path | None: Path,
        Address: Address.parse,
        Address | None: Address.parse,
        LogFormat: _log_format,
        float: partial(_number, float, meaning),
        int: partial(_number, int, meaning),
        int | None: partial(_number, int, meaning),
    }
    return readers[kind]


def _number(kind: type[float], meaning: Meaning, text: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = kind(-1)
    # Not `value < least or value > most`: NaN is refused too.
    if not meaning.least <= value <= meaning.most:
        whole = "a whole number, " if kind is int else ""
        allowed = f"{whole}{meaning.least:g} to {meaning.most:g} {meaning.unit.lower()}"
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: {allowed}")
    return value


def _log_format(text: str) -> str:
    if text not in ("json", "text"):
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: json or text")
    return text


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, allowed: {', '.join(_TRUE)} or {', '.join(_FALSE)}"
        )
    return text.lower() in _TRUE
