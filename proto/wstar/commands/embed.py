"""`wstar embed`: any number of faces into one file of codes, in flat memory."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from wstar import terminal
from wstar.code_files import ENDINGS, holds_codes, read_blocks, write_codes
from wstar.codes import Code, CodeArray
from wstar.commands.common import answer, client, refuse_folders
from wstar.errors import InvalidInput, LimitExceeded, SpaceMismatch, WstarError
from wstar.extras import extra
from wstar.graphs import Space
from wstar.inputs import Input, find_inputs, parts
from wstar.operations import Dtype

SOME_SKIPPED = 2
_FORCE = "--force replaces it"


def embed(arguments: argparse.Namespace) -> int:
    """Write codes to a file; exit code 2 if some faces had to be skipped."""
    output: Path = arguments.output
    if not holds_codes(output):
        raise InvalidInput("--output", str(output), f"a name that ends in {' or '.join(ENDINGS)}")
    refuse_folders([output])
    if output.suffix == ".parquet":
        extra("pyarrow")  # A missing package is told before the work, not after it.
    given = find_inputs(arguments.faces)
    if arguments.shard is not None:
        given = _part(given, *arguments.shard)
    dtype: Dtype = "f16" if arguments.f16 else "f32"
    space = Space(arguments.space)
    if output.exists() and not arguments.force:
        return _leave_alone(arguments, given, space, f"float{dtype[1:]}")
    skipped: list[tuple[Input, str]] = []
    kept: list[int] = []
    # Codes arrive in any order, and more of them than memory holds; the disk puts them in order.
    with tempfile.TemporaryFile(dir=output.parent) as file:
        spool: Spool | None = None
        with client(arguments) as server, terminal.progress("embed", len(given)) as advance:
            faces = ((index, item.face) for index, item in enumerate(given))
            for item in server.embed_stream(faces, space=space, dtype=dtype):
                advance()
                if item.error is not None:
                    _check_skippable(item.error, given[item.id])
                    skipped.append((given[item.id], str(item.error)))
                    terminal.say(f"skipped {given[item.id]}: {item.error}")
                elif item.embedding is not None:
                    spool = spool or Spool.like(item.embedding.code, len(given), file)
                    spool.put(item.id, item.embedding.code)
                    kept.append(item.id)
        if spool is None:
            answer(arguments, ["no face could be embedded"], _facts(None, [], skipped))
            return SOME_SKIPPED
        kept.sort()
        names = [given[index].name for index in kept]
        values = spool.first(kept)
        write_codes(output, names, values, space, spool.space_id)
    facts = _facts(output, names, skipped)
    facts |= {"shape": values.shape, "dtype": str(values.dtype), "space_id": spool.space_id}
    size = " x ".join(map(str, values.shape))
    text = f"{output}: {size} {values.dtype}, space id {spool.space_id}"
    if skipped:
        text += f"; {len(skipped)} of {len(given)} faces skipped"
    answer(arguments, [text], facts)
    return SOME_SKIPPED if skipped else 0


@dataclass(frozen=True, eq=False)
class Spool:
    """Codes of one space on disk, by their place.

    values: (faces, n, 512), mapped from a file.
    """

    values: CodeArray
    space_id: str

    @classmethod
    def like(cls, code: Code, faces: int, file: IO[bytes]) -> Spool:
        """Make room for as many codes; OSError if the disk has none."""
        size_bytes = faces * code.values.nbytes
        if sys.platform == "linux":
            # A full disk met later, through the map, would kill the process.
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        else:
            file.truncate(size_bytes)
        shape = (faces, *code.values.shape)
        return cls(np.memmap(file, code.values.dtype, "r+", 0, shape), code.space_id)

    def put(self, place: int, code: Code) -> None:
        """Store one code; SpaceMismatch if the server was replaced by one of another space."""
        if code.space_id != self.space_id:
            raise SpaceMismatch("code.space_id", code.space_id, self.space_id)
        self.values[place] = code.values

    def first(self, places: Sequence[int]) -> CodeArray:
        """Move the codes of these places, in ascending order, to the front and return them."""
        for front, place in enumerate(places):
            self.values[front] = self.values[place]
        return self.values[: len(places)]


def _check_skippable(error: WstarError, item: Input) -> None:
    """Raise an error that is no fault of this one face."""
    field = getattr(error, "field", "")
    of_face = field == item.file or field.partition(".")[0] == "face"
    if not (of_face and isinstance(error, InvalidInput | LimitExceeded | SpaceMismatch)):
        raise error


def _part(given: list[Input], number: int, count: int) -> list[Input]:
    if count > len(given):
        raise InvalidInput("--shard", f"{number}/{count}", f"at most {len(given)} parts, or faces")
    return parts(given, count)[number - 1]


def _leave_alone(
    arguments: argparse.Namespace, given: Sequence[Input], space: Space, dtype: str
) -> int:
    """Accept a finished file of these faces, so that a job can run again; refuse another."""
    output: Path = arguments.output
    names: list[str] = []
    for block in read_blocks(output):
        names += block.names
        if (block.space, str(block.values.dtype)) != (space, dtype):
            found = f"codes of {block.space.value} in {block.values.dtype}"
            raise InvalidInput(str(output), found, f"{space.value} in {dtype} ({_FORCE})")
    held = set(names)
    others = held - {item.name for item in given}
    if others:
        found = f"{len(others)} other faces"
        raise InvalidInput(str(output), found, f"the {len(given)} faces given ({_FORCE})")
    missing = [item for item in given if item.name not in held]
    skipped = [(item, "not in the file, which was left alone") for item in missing]
    text = f"{output}: is there, left alone (--force makes it again)"
    if missing:
        text += f"; {len(missing)} of {len(given)} faces are not in it"
    facts = _facts(output, names, skipped) | {"left_alone": True}
    answer(arguments, [text], facts | {"dtype": dtype, "space_id": block.space_id})
    return SOME_SKIPPED if missing else 0


def _facts(
    output: Path | None, names: Sequence[str], skipped: Sequence[tuple[Input, str]]
) -> dict[str, Any]:
    return {
        "output": None if output is None else str(output),
        "names": names,
        "skipped": [{"name": item.name, "reason": reason} for item, reason in skipped],
    }
