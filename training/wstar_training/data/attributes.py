"""The 40 attributes of pictures: CelebA's list, its CSV form, and CelebAMask-HQ's annotation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar_training.data.lists import Row, TextList, read_list

_VALUES = {"-1": False, "1": True}


@dataclass(frozen=True, eq=False)
class AttributeTable:
    """Attributes of pictures.

    names: file names of the pictures, each once, in the order of the file.
    values: bool (N, 40), the columns in the order of `wstar.attributes.ATTRIBUTES`.
    """

    names: tuple[str, ...]
    values: NDArray[np.bool_]


def read_attributes(path: Path) -> AttributeTable:
    """Read `list_attr_celeba.txt`, `list_attr_celeba.csv` or `CelebAMask-HQ-attribute-anno.txt`.

    Columns may stand in any order: they are found by their names.

    Raises
    ------
    CheckpointError: file, line, what was found and what is allowed: another count of rows or
    values, an attribute that is missing, unknown or there twice, a value other than -1 and 1, a
    picture that is there twice.
    """
    file = read_list(path)
    if file.is_csv:
        header, rows = file.rows[0], file.rows[1:]
        first, *titles = header.fields
        if first != "image_id":
            raise file.refused(header, first, "image_id, then the 40 attributes")
    else:
        header, rows = file.after_count()
        titles = header.fields
    columns = _columns(file, header, titles)
    names, values = [], np.empty((len(rows), len(ATTRIBUTES)), np.bool_)
    for index, row in enumerate(rows):
        name, *fields = row.fields
        names.append(name)
        values[index] = _values(file, row, fields)
    file.check_pictures(rows, names)
    return AttributeTable(tuple(names), values[:, columns])


def _columns(file: TextList, header: Row, titles: Sequence[str]) -> list[int]:
    """Where each attribute stands among the titles."""
    for title in titles:
        if title not in ATTRIBUTES or titles.count(title) > 1:
            raise file.refused(header, title, "the 40 attributes of CelebA, each once")
    if missing := [name for name in ATTRIBUTES if name not in titles]:
        found = f"{len(titles)} attributes without {missing[0]}"
        raise file.refused(header, found, "the 40 attributes of CelebA, each once")
    return [titles.index(name) for name in ATTRIBUTES]


def _values(file: TextList, row: Row, fields: Sequence[str]) -> list[bool]:
    """The values of one picture."""
    if len(fields) != len(ATTRIBUTES):
        raise file.refused(row, f"{len(fields)} values", f"{len(ATTRIBUTES)} values")
    try:
        return [_VALUES[field] for field in fields]
    except KeyError as error:
        raise file.refused(row, error.args[0], "-1 or 1") from error
