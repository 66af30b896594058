"""Which picture of CelebA a picture of CelebA-HQ was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from wstar_training.data.lists import Row, TextList, read_list, stem

_COLUMNS = ("idx", "orig_idx", "orig_file")


@dataclass(frozen=True)
class HQMapping:
    """originals: number of a CelebA-HQ picture to the file name in CelebA it was made from."""

    originals: Mapping[int, str]


def read_hq_mapping(path: Path) -> HQMapping:
    """Read `CelebA-HQ-to-CelebA-mapping.txt`, with or without header, or `image_list.txt`.

    The numbers of these two files are not known to mean the same pictures: read the one that
    came with the pictures. Columns other than idx, orig_idx and orig_file are not looked at.

    Raises
    ------
    CheckpointError: file, line, what was found and what is allowed: another header, a row that is
    too short, a number or an original that is there twice, an orig_file that is not the one of
    orig_idx.
    """
    file = read_list(path)
    first, rows = file.rows[0], file.rows
    columns: Sequence[int] = range(len(_COLUMNS))
    if not first.fields[0].isdigit():
        rows = file.rows[1:]
        columns = _columns(file, first)
    originals: dict[int, str] = {}
    for row in rows:
        fields = row.fields
        if len(fields) <= max(columns):
            raise file.refused(row, row.text, " ".join(_COLUMNS))
        index, original_index, original = (fields[column] for column in columns)
        number = file.number(row, index)
        if number in originals:
            raise file.refused(row, number, "each idx once")
        # Counted from 0 there, named from 1.
        expected = f"{file.number(row, original_index) + 1:06d}"
        if stem(original) != expected:
            raise file.refused(row, original, f"{expected}.jpg, which its orig_idx means")
        originals[number] = original
    file.check_pictures(rows, list(originals.values()))
    return HQMapping(MappingProxyType(originals))


def _columns(file: TextList, header: Row) -> list[int]:
    """Where the columns stand, by the header."""
    titles = header.fields
    if any(titles.count(name) != 1 for name in _COLUMNS):
        raise file.refused(header, header.text, f"a header with {', '.join(_COLUMNS)}, each once")
    return [titles.index(name) for name in _COLUMNS]
