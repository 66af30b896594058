"""What commands share: the server they ask, how they answer, whose fault an error is."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wstar import terminal
from wstar.channel import Tls
from wstar.client import Client
from wstar.errors import InvalidInput, LimitExceeded, SpaceMismatch
from wstar.inputs import Input
from wstar.reports import Report

_MAX_TOKEN_BYTES = 65_536


def client(arguments: argparse.Namespace) -> Client:
    """Return a client of the server that the arguments name.

    Raises
    ------
    InvalidInput: a file of TLS or of a token that cannot be used; never with the token itself.
    OSError: the file of the token cannot be read.
    """
    files = (arguments.tls_ca, arguments.tls_certificate, arguments.tls_key)
    encrypted = any(files) if arguments.tls is None else arguments.tls
    tls = Tls(*files) if encrypted else None
    token = None if arguments.token_file is None else _token(arguments.token_file)
    return Client(arguments.server, timeout_s=arguments.timeout_s, tls=tls, token=token)


def answer(arguments: argparse.Namespace, report: Report, facts: Mapping[str, Any]) -> None:
    """Print the report, or the facts as JSON if that was asked for."""
    if arguments.json:
        print(json.dumps(facts))
    else:
        terminal.show(report)


def refuse_folders(paths: Sequence[Path]) -> None:
    """Refuse outputs that cannot be written as files."""
    for path in paths:
        if not path.parent.is_dir():
            raise InvalidInput("--output", str(path), "a file in a folder that exists")
        if path.is_dir():
            raise InvalidInput("--output", str(path), "a file; this is a folder")


@contextmanager
def naming(lists: Mapping[str, Sequence[Input]]) -> Iterator[None]:
    """Put the file's name in front of an error about one face of a request, as in faces[3]."""
    try:
        yield
    except (InvalidInput, LimitExceeded, SpaceMismatch) as error:
        # An error about a whole list, as its length, is no fault of one file.
        at = re.match(r"(?:(face)|(\w+)\[(\d+)\])(?=[.:]|$)", getattr(error, "field", ""))
        if at is not None:
            named = lists.get(at[1] or at[2], ())
            index = int(at[3] or 0)
            if index < len(named):
                error.args = (f"{named[index]}: {error}",)
        raise


def _token(path: Path) -> str:
    with path.open("rb") as file:
        found = file.read(_MAX_TOKEN_BYTES).strip()
    if not found:
        raise InvalidInput("--token-file", str(path), "a file that is not empty")
    # What is no ASCII is refused by the client, which does not show it.
    return found.decode("latin-1")
