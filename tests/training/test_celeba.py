"""Lists of CelebA and CelebA-HQ: what they say of a picture, found by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wstar.attributes import ATTRIBUTES
from wstar.errors import CheckpointError, InvalidInput
from wstar_training.data.attributes import AttributeTable, read_attributes
from wstar_training.data.celeba_hq import read_hq_mapping
from wstar_training.data.labels import celeba_hq_labels, celeba_labels, celeba_mask_labels
from wstar_training.data.partition import read_partition

FORMATS = Path(__file__).resolve().parents[1] / "data" / "formats"
EXPECTED = json.loads((FORMATS / "expected.json").read_text())
MAPPINGS = (
    "CelebA-HQ-to-CelebA-mapping.txt",
    "CelebA-HQ-to-CelebA-mapping.no-header.txt",
    "image_list.txt",
)
CELEBA = tuple(f"{number:06d}.jpg" for number in range(1, 9))
CELEBA_LABELS = np.array(EXPECTED["celeba_labels01"], bool)
HQ_LABELS = np.array(EXPECTED["hq_labels01"], bool)

Edit = Callable[[list[str]], Any]


def as_csv(path: Path, to: Path, header: str) -> Path:
    """The CSV form of a list: `header`, then the rows below it."""
    rows = [",".join(line.split()) for line in path.read_text().splitlines() if ".jpg" in line]
    to.write_text("\r\n".join([header, *rows]) + "\r\n")
    return to


def edited(name: str, to: Path, edit: Edit) -> Path:
    """A list with its lines changed."""
    lines = (FORMATS / name).read_text().splitlines()
    edit(lines)
    path = to / "list.txt"
    path.write_text("\n".join(lines))
    return path


def test_attributes_are_those_of_the_file_as_text_and_as_csv(tmp_path: Path) -> None:
    assert list(ATTRIBUTES) == EXPECTED["attributes"]
    text = FORMATS / "list_attr_celeba.txt"
    csv = as_csv(text, tmp_path / "attributes.csv", ",".join(["image_id", *ATTRIBUTES]))
    for path in (text, csv):
        found = read_attributes(path)
        assert found.names == CELEBA
        assert found.values.dtype == bool
        np.testing.assert_array_equal(found.values, CELEBA_LABELS)


def test_annotation_of_celeba_mask_is_the_same_kind_of_list() -> None:
    found = read_attributes(FORMATS / "CelebAMask-HQ-attribute-anno.txt")
    assert found.names == tuple(f"{number}.jpg" for number in range(5))
    np.testing.assert_array_equal(found.values, HQ_LABELS)


def test_columns_are_found_by_their_names(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(40)

    def reorder(lines: list[str]) -> None:
        lines[1] = " ".join(ATTRIBUTES[column] for column in order)
        for index in range(2, len(lines)):
            name, *values = lines[index].split()
            lines[index] = " ".join([name, *(values[column] for column in order)])

    found = read_attributes(edited("list_attr_celeba.txt", tmp_path, reorder))
    np.testing.assert_array_equal(found.values, CELEBA_LABELS)


def test_partition_is_read_as_text_and_as_csv(tmp_path: Path) -> None:
    text = FORMATS / "list_eval_partition.txt"
    for path in (text, as_csv(text, tmp_path / "partition.csv", "image_id,partition")):
        found = read_partition(path)
        assert found.names == CELEBA
        assert found.values.tolist() == [0, 0, 0, 1, 1, 2, 2, 0]


@pytest.mark.parametrize("name", MAPPINGS)
def test_mappings_name_the_originals(name: str) -> None:
    found = read_hq_mapping(FORMATS / name)
    expected = {i: CELEBA[row] for i, row in enumerate(EXPECTED["hq_to_celeba_index"])}
    assert found.originals == expected


@pytest.mark.parametrize("name", MAPPINGS)
def test_rows_may_stand_in_any_order(name: str, tmp_path: Path) -> None:
    header = not name.endswith("no-header.txt")

    def reverse(lines: list[str]) -> None:
        lines[header:] = lines[: header - 1 if header else None : -1]

    found = read_hq_mapping(edited(name, tmp_path, reverse))
    assert found.originals == read_hq_mapping(FORMATS / name).originals


def lists() -> tuple[AttributeTable, Any, Any]:
    return (
        read_attributes(FORMATS / "list_attr_celeba.txt"),
        read_partition(FORMATS / "list_eval_partition.txt"),
        read_hq_mapping(FORMATS / MAPPINGS[0]),
    )


def test_pictures_of_celeba_are_labelled_by_name() -> None:
    attributes, partition, _ = lists()
    pictures = ["a/000008.png", "000123.jpg", "000004.jpg", "4.jpg"]
    found = celeba_labels(pictures, attributes, partition)
    assert found.rows.tolist() == [0, 2]
    assert found.unlabelled == ("000123.jpg", "4.jpg")
    np.testing.assert_array_equal(found.attributes, CELEBA_LABELS[[7, 3]])
    assert found.splits.tolist() == [0, 1]


def test_pictures_of_celeba_hq_have_the_labels_of_their_originals() -> None:
    """Names sort as text, so that the fourth picture of 30,000 is number 100."""
    attributes, partition, mapping = lists()
    annotation = read_attributes(FORMATS / "CelebAMask-HQ-attribute-anno.txt")
    order = [4, 1, 0, 3, 2]
    pictures = ["100.jpg", *(f"{number}.jpg" for number in order[:3]), "00003.png", "2.webp"]
    for found in (
        celeba_hq_labels(pictures, attributes, partition, mapping),
        celeba_mask_labels(pictures, annotation, partition, mapping),
    ):
        assert found.rows.tolist() == [1, 2, 3, 4, 5]
        assert found.unlabelled == ("100.jpg",)
        np.testing.assert_array_equal(found.attributes, HQ_LABELS[order])
        np.testing.assert_array_equal(found.splits, np.array(EXPECTED["hq_split"])[order])


def test_pictures_of_another_data_set_are_refused() -> None:
    attributes, partition, mapping = lists()
    with pytest.raises(InvalidInput, match="names as in the lists"):
        celeba_hq_labels(CELEBA, attributes, partition, mapping)
    with pytest.raises(InvalidInput, match="names as in the lists"):
        celeba_labels(["0.jpg", "1.jpg", "00002.jpg"], attributes, partition)


def test_one_number_in_two_folders_is_refused() -> None:
    attributes, partition, mapping = lists()
    for pictures in (["train/0.jpg", "val/0.jpg"], ["0.jpg", "00000.png"]):
        with pytest.raises(InvalidInput, match="each picture once"):
            celeba_hq_labels(pictures, attributes, partition, mapping)


def replace(line: int, old: str, new: str) -> Edit:
    """Replace text in a line, counted from 1."""

    def edit(lines: list[str]) -> None:
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new, 1)

    return edit


ATTRIBUTE_FAULTS: dict[str, tuple[Edit, int, str, str]] = {
    "zero": (replace(5, " 1", " 0"), 5, "'0'", "-1 or 1"),
    "missing row": (lambda lines: lines.pop(), 1, "8", "7, the rows"),
    "no count": (lambda lines: lines.pop(0), 1, "5_o_Clock", "a whole number"),
    "only a count": (lambda lines: lines.__delitem__(slice(1, None)), 1, "8", "a line of titles"),
    "short row": (replace(4, " -1", ""), 4, "39 values", "40 values"),
    "twice": (replace(6, "000004.jpg", "000003.png"), 6, "000003.png", "each picture once"),
    "unknown": (replace(2, "Bald", "Bold"), 2, "Bold", "each once"),
    "double": (replace(2, "Bald", "Bangs"), 2, "Bangs", "each once"),
    "without": (replace(2, "Young", ""), 2, "39 attributes without Young", "each once"),
}


@pytest.mark.parametrize("fault", ATTRIBUTE_FAULTS)
def test_faulty_attributes_are_refused(fault: str, tmp_path: Path) -> None:
    edit, line, found, allowed = ATTRIBUTE_FAULTS[fault]
    path = edited("list_attr_celeba.txt", tmp_path, edit)
    with pytest.raises(CheckpointError, match=f"line {line}: .*{re.escape(found)}.*{allowed}") as e:
        read_attributes(path)
    assert str(path) in str(e.value)


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        (replace(3, " 0", " 3"), 3),
        (replace(3, " 0", ""), 3),
        (replace(3, " 0", " 0 1"), 3),
        (replace(3, "000003", "000002"), 3),
        (replace(1, "000001.jpg 0", "image,partition"), 1),
    ],
)
def test_faulty_partitions_are_refused(edit: Edit, line: int, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"line {line}: found .*allowed"):
        read_partition(edited("list_eval_partition.txt", tmp_path, edit))


@pytest.mark.parametrize("name", [MAPPINGS[0], MAPPINGS[2]])
@pytest.mark.parametrize(
    ("edit", "line", "allowed"),
    [
        (replace(1, "orig_file", "file"), 1, "a header with"),
        (replace(3, "000008.jpg", ""), 3, "000008|idx orig_idx orig_file"),
        (replace(3, "000008.jpg", "000009.jpg"), 3, "000008.jpg, which"),
        (replace(3, "1", "x"), 3, "a whole number"),
        (replace(3, "1", "0"), 3, "each idx once"),
        (lambda lines: lines.append("9 2 000003.jpg"), 7, "each picture once"),
    ],
)
def test_faulty_mappings_are_refused(
    name: str, edit: Edit, line: int, allowed: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=f"line {line}: found .*({allowed})"):
        read_hq_mapping(edited(name, tmp_path, edit))


@pytest.mark.parametrize("read", [read_attributes, read_partition, read_hq_mapping])
def test_files_that_are_no_lists_are_refused(read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    with pytest.raises(CheckpointError, match="list.txt: No such file"):
        read(path)
    for data, message in ((b" \n\n", "is empty"), (b"\x89PNG\xff\xfe", "no text file")):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=f"list.txt: .*{message}"):
            read(path)
