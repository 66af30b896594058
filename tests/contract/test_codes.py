"""Codes on the wire and on disk: what goes in comes out, what does not fit is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wstar import code_files
from wstar.code_files import read_codes, write_codes
from wstar.codes import Code, CodeArray
from wstar.errors import InvalidInput
from wstar.graphs import Space
from wstar.v1 import wstar_pb2 as pb


@given(
    rows=st.integers(1, 18),
    space=st.sampled_from(Space),
    half=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_code_survives_the_wire(rows: int, space: Space, half: bool, seed: int) -> None:
    numbers = np.random.default_rng(seed).normal(size=(rows, 512))
    values: CodeArray = numbers.astype(np.float16) if half else numbers.astype(np.float32)
    code = Code(values, space, "an id")
    message = pb.Code.FromString(code.to_message().SerializeToString())
    assert len(message.data) == rows * 512 * (2 if half else 4)
    found = Code.from_message(message, "code", rows)
    assert (found.space, found.space_id) == (space, "an id")
    assert found.values.dtype == code.values.dtype
    np.testing.assert_array_equal(found.values, code.values)


def test_an_unspecified_type_is_f32() -> None:
    message = pb.Code(space="SPACE_W_PLUS", data=np.ones(1024, "<f4").tobytes())
    assert Code.from_message(message, "code").values.shape == (2, 512)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("space", {"space": 0}),
        ("space", {"space": 77}),
        ("dtype", {"dtype": 77}),
        ("data", {"data": b""}),
        ("data", {"data": bytes(4 * 1023)}),
        ("data", {"data": bytes(4 * 512)}),
        ("data", {"data": np.full(1024, np.nan, "<f4").tobytes()}),
        ("data", {"data": np.full(1024, np.inf, "<f4").tobytes()}),
    ],
)
def test_a_message_that_is_no_code_is_refused(field: str, change: dict[str, object]) -> None:
    message = pb.Code(space="SPACE_W_STAR", dtype="DTYPE_F32", data=bytes(4 * 1024))
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InvalidInput) as refused:
        Code.from_message(message, "faces[3].code", 2)
    assert refused.value.field == f"faces[3].code.{field}"


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 512), np.float64),
        np.zeros((2, 511), np.float32),
        np.zeros(512, np.float32),
        np.full((2, 512), np.nan, np.float32),
    ],
)
def test_an_array_that_is_no_code_is_refused(values: CodeArray) -> None:
    with pytest.raises(InvalidInput):
        Code(values, Space.W_STAR, "an id")


def test_codes_survive_a_file_and_replace_an_old_one(tmp_path: Path) -> None:
    codes = [Code(np.full((2, 512), i, np.float16), Space.W_STAR_ID, "an id") for i in range(3)]
    path = tmp_path / "codes.npz"
    path.write_text("old")
    write_codes(path, ["a.png", "b.png", "ü c.png"], codes)
    names, found = read_codes(path)
    assert names == ["a.png", "b.png", "ü c.png"]
    assert [(code.space, code.space_id) for code in found] == [(Space.W_STAR_ID, "an id")] * 3
    for one, other in zip(found, codes, strict=True):
        assert one.values.dtype == np.float16
        np.testing.assert_array_equal(one.values, other.values)
    assert [file.name for file in tmp_path.iterdir()] == ["codes.npz"]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    text, other = tmp_path / "text.npz", tmp_path / "other.npz"
    text.write_text("hello")
    np.savez(other, x=np.zeros(3))
    for path in (text, other):
        with pytest.raises(InvalidInput, match=path.name):
            read_codes(path)


def stored(path: Path) -> bytes:
    """The bytes of a small file of codes."""
    codes = [Code(np.full((1, 512), i, np.float16), Space.W_STAR, "an id") for i in range(2)]
    write_codes(path, ["a.png", "b.png"], codes)
    return path.read_bytes()


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_with_a_changed_byte_is_read_whole_or_refused(
    tmp_path: Path, compressed: bool
) -> None:
    path = tmp_path / "codes.npz"
    data = stored(path)
    if compressed:
        with np.load(path) as arrays:
            np.savez_compressed(path, **arrays)
        data = path.read_bytes()
    refused = 0
    for at in range(0, len(data), 17):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            names, codes = read_codes(path)
        except InvalidInput as error:
            assert str(error).startswith(f"{path}: found ")
            refused += 1
        else:
            assert (names, codes[1].values[0, 0]) == (["a.png", "b.png"], 1.0)
    assert refused > len(data) / 17 / 2


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    data = stored(path)
    for kept in range(0, len(data), 301):
        path.write_bytes(data[:kept])
        with pytest.raises(InvalidInput, match=r"codes\.npz"):
            read_codes(path)


@pytest.mark.parametrize(
    "change",
    [
        {"codes": np.float32(1)},
        {"codes": np.zeros((2, 512), np.float32)},
        {"codes": np.zeros((1, 1, 512), np.float32)},
        {"codes": np.zeros((2, 1, 512), np.float64)},
        {"codes": np.array([[None]])},
        {"names": np.array("a.png")},
        {"names": np.array([{}, {}])},
        {"space": np.array("W")},
        {"space": np.array(["W_STAR", "W_STAR"])},
        {"space_id": np.array([], np.str_)},
    ],
)
def test_arrays_that_are_no_codes_are_refused(
    tmp_path: Path, change: dict[str, np.ndarray[Any, Any]]
) -> None:
    path = tmp_path / "codes.npz"
    stored(path)
    with np.load(path) as arrays:
        np.savez(path, allow_pickle=True, **(dict(arrays) | change))
    with pytest.raises(InvalidInput, match=r"codes\.npz"):
        read_codes(path)


def test_a_size_that_a_header_claims_is_not_allocated(tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    stored(path)
    header = io.BytesIO()
    claimed = {"shape": (10**9, 18, 512), "fortran_order": False, "descr": "<f4"}
    np.lib.format.write_array_header_1_0(header, claimed)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["codes.npy"] = header.getvalue() + bytes(2048)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(InvalidInput, match="cannot reshape"):
        read_codes(path)


def test_a_compressed_array_grows_to_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_files, "MAX_INFLATED_BYTES", 4000)
    path = tmp_path / "codes.npz"
    many = [Code(np.zeros((2, 512), np.float32), Space.W_STAR, "an id")] * 2
    write_codes(path, ["a.png", "b.png"], many)
    assert len(read_codes(path)[1]) == 2
    with np.load(path) as arrays:
        np.savez_compressed(path, **arrays)
    with pytest.raises(InvalidInput, match="8320 bytes, more than 4000"):
        read_codes(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "codes.npz"
    path.mkdir()
    with pytest.raises(OSError, match="codes"):
        write_codes(path, ["a"], [Code(np.zeros((2, 512), np.float32), Space.W_STAR, "an id")])
    assert [file.name for file in tmp_path.iterdir()] == ["codes.npz"]
