"""The .npz file of codes: what numpy reads, and arrays that are no codes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wstar import npz_codes
from wstar.code_files import read_codes, write_codes
from wstar.errors import InvalidInput
from wstar.graphs import Space


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Two codes of one row."""
    path = tmp_path / "codes.npz"
    values = np.arange(2.0, dtype=np.float16)[:, None, None] * np.ones((2, 1, 512), np.float16)
    write_codes(path, ["a.png", "b.png"], values, Space.W_STAR, "an id")
    return path


def test_numpy_alone_reads_it(stored: Path) -> None:
    with np.load(stored) as arrays:
        assert set(arrays) == {"codes", "names", "space", "space_id"}
        assert arrays["codes"].shape == (2, 1, 512)
        assert (str(arrays["space"]), str(arrays["space_id"])) == ("W_STAR", "an id")
        assert arrays["names"].tolist() == ["a.png", "b.png"]


@pytest.mark.parametrize("at", range(0, 3000, 191))
def test_a_compressed_file_is_read_whole_or_refused(stored: Path, at: int) -> None:
    with np.load(stored) as arrays:
        np.savez_compressed(stored, **arrays)
    assert read_codes(stored)[1][1].values[0, 0] == 1.0
    data = bytearray(stored.read_bytes())
    data[at % len(data)] ^= 0xFF
    stored.write_bytes(data)
    try:
        names, codes = read_codes(stored)
    except InvalidInput as error:
        assert str(error).startswith(f"{stored}: found ")
    else:
        assert (names, codes[1].values[0, 0]) == (["a.png", "b.png"], 1.0)


@pytest.mark.parametrize(
    "change",
    [
        {"codes": np.float32(1)},
        {"codes": np.zeros((2, 512), np.float32)},
        {"codes": np.zeros((1, 1, 512), np.float32)},
        {"codes": np.zeros((2, 1, 512), np.float64)},
        {"codes": np.zeros((2, 1, 512), ">f4")},
        {"codes": np.asfortranarray(np.zeros((2, 2, 512), np.float32))},
        {"codes": np.zeros((0, 1, 512), np.float32), "names": np.zeros(0, "U1")},
        {"codes": np.zeros((2, 0, 512), np.float32)},
        {"codes": np.array([[None]])},
        {"codes": np.full((2, 1, 512), np.nan, np.float32)},
        {"names": np.array("a.png")},
        {"names": np.array([{}, {}])},
        {"names": np.zeros(2)},
        {"space": np.array("W")},
        {"space": np.array(["W_STAR", "W_STAR"])},
        {"space_id": np.array([], np.str_)},
    ],
)
def test_arrays_that_are_no_codes_are_refused(
    stored: Path, change: dict[str, np.ndarray[Any, Any]]
) -> None:
    with np.load(stored) as arrays:
        np.savez(stored, allow_pickle=True, **(dict(arrays) | change))
    with pytest.raises(InvalidInput, match=r"codes\.npz"):
        read_codes(stored)


@pytest.mark.parametrize(
    ("name", "shape", "descr", "said"),
    [
        ("codes", (2, 18, 512), "<f4", "cannot reshape"),
        ("codes", (2, 10**9, 512), "<f4", "codes of 1000000000 rows"),
        ("codes", (10**9, 18, 512), "<f4", "names of shape"),
        ("names", (10**12,), "<U100", "cannot reshape"),
    ],
)
def test_a_size_that_a_header_claims_is_not_allocated(
    stored: Path, name: str, shape: tuple[int, ...], descr: str, said: str
) -> None:
    header = io.BytesIO()
    claimed = {"shape": shape, "fortran_order": False, "descr": descr}
    np.lib.format.write_array_header_1_0(header, claimed)
    with zipfile.ZipFile(stored) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[f"{name}.npy"] = header.getvalue() + bytes(2000)
    with zipfile.ZipFile(stored, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(InvalidInput, match=said):
        read_codes(stored)


def test_names_grow_to_a_limit(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz_codes, "MAX_TEXT_BYTES", 5000)
    with np.load(stored) as arrays:
        np.savez_compressed(stored, **(dict(arrays) | {"names": np.array(["a" * 1000, "b"])}))
    with pytest.raises(InvalidInput, match="names of 8128 bytes, more than 5000"):
        read_codes(stored)
