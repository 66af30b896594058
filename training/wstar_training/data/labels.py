"""Pictures joined with their attributes and their split: by name, never by position.

Folders are read in one order, lists are written in another, and pictures that could not be read
are missing; a name says what a picture is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wstar.errors import InvalidInput
from wstar_training.data.attributes import AttributeTable
from wstar_training.data.celeba_hq import HQMapping
from wstar_training.data.lists import stem
from wstar_training.data.partition import Partition


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of those of a list of pictures that have one.

    rows: int64 (M,), positions in the list, ascending.
    attributes: bool (M, 40), columns as in `wstar.attributes.ATTRIBUTES`.
    splits: int8 (M,), positions in `wstar_training.data.partition.SPLITS`.
    unlabelled: the pictures that have none.
    """

    rows: NDArray[np.int64]
    attributes: NDArray[np.bool_]
    splits: NDArray[np.int8]
    unlabelled: tuple[str, ...]


def celeba_labels(
    pictures: Sequence[str], attributes: AttributeTable, partition: Partition
) -> Labels:
    """Label pictures of CelebA: `000001.jpg`, or another format of that name.

    Raises
    ------
    InvalidInput: a picture is there twice, or none has a label.
    """
    return _joined(pictures, attributes, partition, stem, stem)


def celeba_hq_labels(
    pictures: Sequence[str], attributes: AttributeTable, partition: Partition, mapping: HQMapping
) -> Labels:
    """Label pictures of CelebA-HQ, `7.jpg` or `00007.png`, with CelebA's lists.

    Raises
    ------
    InvalidInput: a picture is there twice, or none has a label.
    """

    def original(picture: str) -> str | None:
        return _original(picture, mapping)

    return _joined(pictures, attributes, partition, original, original)


def celeba_mask_labels(
    pictures: Sequence[str], annotation: AttributeTable, partition: Partition, mapping: HQMapping
) -> Labels:
    """Label pictures of CelebAMask-HQ, `7.jpg` or `00007.png`, with its own annotation.

    The split is the one of their originals in CelebA.

    Raises
    ------
    InvalidInput: a picture is there twice, or none has a label.
    """

    def number(picture: str) -> str | None:
        found = hq_number(picture)
        return None if found is None else str(found)

    def original(picture: str) -> str | None:
        return _original(picture, mapping)

    return _joined(pictures, annotation, partition, number, original)


def hq_number(picture: str) -> int | None:
    """The number of a picture of CelebA-HQ: 7 of `7.jpg` and `00007.png`, None for other names.

    Names of CelebA have six digits: they are none.
    """
    name = stem(picture)
    if not (name.isascii() and name.isdigit()) or name not in (str(int(name)), f"{int(name):05d}"):
        return None
    return int(name)


def _original(picture: str, mapping: HQMapping) -> str | None:
    """The original's stem in CelebA."""
    number = hq_number(picture)
    original = None if number is None else mapping.originals.get(number)
    return None if original is None else stem(original)


Key = Callable[[str], str | None]


def _joined(
    pictures: Sequence[str],
    attributes: AttributeTable,
    partition: Partition,
    attributes_key: Key,
    partition_key: Key,
) -> Labels:
    """Join by the names that the keys give to a picture in either list."""
    attribute_row: dict[str | None, int] = {
        stem(name): row for row, name in enumerate(attributes.names)
    }
    split_row: dict[str | None, int] = {stem(name): row for row, name in enumerate(partition.names)}
    seen: set[str | None] = set()
    rows: list[tuple[int, int, int]] = []
    unlabelled = []
    for index, picture in enumerate(pictures):
        key = partition_key(picture)
        attribute, split = attribute_row.get(attributes_key(picture)), split_row.get(key)
        if attribute is None or split is None:
            unlabelled.append(picture)
            continue
        # The same number in two folders is two pictures, and no list can say which it means.
        if key in seen:
            raise InvalidInput("pictures", picture, "each picture once, whatever its folder")
        seen.add(key)
        rows.append((index, attribute, split))
    if not rows:
        raise InvalidInput(
            "pictures",
            pictures[:3],
            f"names as in the lists, {attributes.names[:1]} and {partition.names[:1]}; from names "
            "of CelebA-HQ to those of CelebA leads the mapping",
        )
    positions, attribute_rows, split_rows = np.array(rows, np.int64).T
    return Labels(
        positions,
        attributes.values[attribute_rows],
        partition.values[split_rows],
        tuple(unlabelled),
    )
