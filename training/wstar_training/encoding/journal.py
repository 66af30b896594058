"""The journal of an encoding: its plan, then one line per finished batch.

The plan is written whole or not at all. A line is added when the rows of its batch are on the
disk, so what lies beyond the last whole line, here or among the rows, never happened.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.encoding.durable import write_durably
from wstar_training.encoding.pictures import Picture

FORMAT = 1

# The name of a file says nothing about its content, and pictures have their own comparison.
_NOT_COMPARED = ("encoder_file", "pictures")


@dataclass(frozen=True)
class Plan:
    """Everything that the codes depend on, fixed when an output is begun.

    encoder_file, encoder_sha256: name without folder, and hash of the content.
    side: S, px. n_latent: n. preprocessing: from file to input, in words.
    landmarks_sha256: of the landmarks file, if there is one.
    batch: pictures per call of the encoder; rounding depends on it. device: cpu or cuda.
    pictures: in the order of the rows; some turn out to have no code.
    """

    encoder_file: str
    encoder_sha256: str
    side: int
    n_latent: int
    preprocessing: str
    landmarks_sha256: str | None
    batch: int
    device: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Done:
    """What a journal says is finished, and how many of its bytes say so.

    batches: from the first on. rows: codes written. skipped: file name to reason.
    """

    batches: int
    rows: int
    skipped: dict[str, str]
    size_bytes: int


def begin(path: Path, plan: Plan) -> None:
    """Write a journal that holds a plan and nothing done, replacing an old one."""
    write_durably(path, _line({"format": FORMAT, **asdict(plan)}))


def line(rows: int, skipped: dict[str, str]) -> bytes:
    """The line of a finished batch: rows written so far, and what of the batch has none and why."""
    return _line({"rows": rows, "skipped": skipped})


def recall(path: Path) -> tuple[Plan, Done]:
    """Read a journal up to its last whole line.

    Raises
    ------
    CheckpointError: no journal of this format.
    """
    with path.open("rb") as file:
        plan = _plan(path, file.readline())
        batches, rows, skipped, size_bytes = 0, 0, dict[str, str](), file.tell()
        for text in file:
            try:
                record = json.loads(text) if text.endswith(b"\n") else None
            except ValueError:
                record = None
            if not isinstance(record, dict) or record.keys() != {"rows", "skipped"}:
                break
            batches, rows, size_bytes = batches + 1, record["rows"], size_bytes + len(text)
            skipped.update(record["skipped"])
    return plan, Done(batches, rows, skipped, size_bytes)


def refuse_change(begun: Plan, asked: Plan, output: str) -> None:
    """Raise InvalidInput, naming both sides, if `asked` would give other codes than `begun`."""
    with_which = f"with which {output} was begun; anything else needs another --output"
    for name in (field.name for field in fields(Plan) if field.name not in _NOT_COMPARED):
        old, new = getattr(begun, name), getattr(asked, name)
        if old != new:
            raise InvalidInput(name, new, f"{old!r}, {with_which}")
    old_sizes, new_sizes = dict(begun.pictures), dict(asked.pictures)
    for picture in begun.pictures:
        if picture.name not in new_sizes:
            raise InvalidInput(
                f"pictures: {picture.name}", "no such file", f"the file {with_which}"
            )
        if new_sizes[picture.name] != picture.size_bytes:
            found = f"{new_sizes[picture.name]} bytes"
            raise InvalidInput(
                f"pictures: {picture.name}", found, f"{picture.size_bytes} bytes, {with_which}"
            )
    for picture in asked.pictures:
        if picture.name not in old_sizes:
            allowed = f"only the {len(old_sizes)} pictures {with_which}"
            raise InvalidInput(f"pictures: {picture.name}", "a new file", allowed)


def _line(content: dict[str, object]) -> bytes:
    # ASCII: names that are no valid text survive as escapes.
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _plan(path: Path, text: bytes) -> Plan:
    try:
        content = json.loads(text)
        if content.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        pictures = [Picture(name, size_bytes) for name, size_bytes in content.pop("pictures")]
        return Plan(**content, pictures=pictures)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: no journal of this version: {error}") from error
