"""Which pictures of CelebA are for training, for validation and for testing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wstar_training.data.lists import read_list

SPLITS = ("train", "val", "test")
_HEADER = ["image_id", "partition"]


@dataclass(frozen=True, eq=False)
class Partition:
    """The split of pictures.

    names: file names of the pictures, each once, in the order of the file.
    values: int8 (N,), positions in `SPLITS`.
    """

    names: tuple[str, ...]
    values: NDArray[np.int8]


def read_partition(path: Path) -> Partition:
    """Read `list_eval_partition.txt`, or its CSV form, which has a header.

    Raises
    ------
    CheckpointError: file, line, what was found and what is allowed: another header, a row of
    other than two fields, a split other than 0, 1 and 2, a picture that is there twice.
    """
    file = read_list(path)
    rows = file.rows[1:] if file.is_csv else file.rows
    if file.is_csv and file.rows[0].fields != _HEADER:
        raise file.refused(file.rows[0], file.rows[0].text, ",".join(_HEADER))
    names, values = [], np.empty(len(rows), np.int8)
    for index, row in enumerate(rows):
        fields = row.fields
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            raise file.refused(row, row.text, "a file name, then 0, 1 or 2")
        names.append(fields[0])
        values[index] = int(fields[1])
    file.check_pictures(rows, names)
    return Partition(tuple(names), values)


def drawn_partition(names: Sequence[str]) -> Partition:
    """Draw a split where none is known: three fifths, a fifth and a fifth, the same every time."""
    count = len(names)
    fifth = -(-count // 5)
    values = np.zeros(count, np.int8)
    values[: 2 * fifth] = np.repeat(np.array([1, 2], np.int8), fifth)[:count]
    np.random.default_rng(0).shuffle(values)
    return Partition(tuple(names), values)
