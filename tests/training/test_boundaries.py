"""Directions and codes that others saved, by numpy or torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wstar.errors import CheckpointError
from wstar_training.data.boundaries import read_boundary
from wstar_training.data.saved_codes import read_codes

RANDOM = np.random.default_rng(0)
NORMAL = RANDOM.normal(size=(1, 512))
NORMAL /= np.linalg.norm(NORMAL)
ROWS = RANDOM.normal(size=(1, 18, 512))
ROWS /= np.linalg.norm(ROWS, axis=-1, keepdims=True)
CODES = RANDOM.normal(size=(5, 18, 512)).astype(np.float32)


def save(path: Path, value: Any) -> Path:  # noqa: ANN401
    """Write an array as its file's name asks."""
    if path.suffix == ".npy":
        np.save(path, value)
    else:
        torch.save(torch.from_numpy(value) if isinstance(value, np.ndarray) else value, path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("direction", [NORMAL, ROWS], ids=["one", "rows"])
def test_directions_are_read(suffix: str, dtype: type, direction: Any, tmp_path: Path) -> None:  # noqa: ANN401
    found = read_boundary(save(tmp_path / f"smile{suffix}", direction.astype(dtype)))
    assert found.dtype == np.float64
    # Stored in float32 or exactly.
    np.testing.assert_allclose(found, direction[0], rtol=1e-7)


def test_a_file_is_what_is_in_it(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", NORMAL).rename(tmp_path / "a.pt")
    save(tmp_path / "b.pt", NORMAL).rename(tmp_path / "b.npy")
    for name in ("a.pt", "b.npy"):
        np.testing.assert_array_equal(read_boundary(tmp_path / name), NORMAL[0])


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        (NORMAL[0], r"shape \(1, 512\) or \(1, n, 512\), found \(512,\)"),
        (NORMAL[:, :511], r"found \(1, 511\)"),
        (np.repeat(NORMAL, 2, 0), r"found \(2, 512\)"),
        (NORMAL * 1.01, "expected norm 1, found 1.01"),
        (ROWS / np.sqrt(18), "expected norm 4.24264, found 1"),
        (NORMAL * np.nan, "expected norm 1, found nan"),
        (np.zeros((1, 512)), "expected norm 1, found 0"),
        (np.ones((1, 512), int), "expected floating-point numbers, found int64"),
    ],
)
def test_other_directions_are_refused(direction: Any, message: str, tmp_path: Path) -> None:  # noqa: ANN401
    for suffix in (".npy", ".pt"):
        with pytest.raises(CheckpointError, match=f"smile{suffix}: .*{message}"):
            read_boundary(save(tmp_path / f"smile{suffix}", direction))


@pytest.mark.parametrize("read", [read_boundary, read_codes])
def test_what_is_no_array_is_refused(read: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="missing.npy: No such file"):
        read(tmp_path / "missing.npy")
    pickled = tmp_path / "latents.npy"
    np.save(pickled, np.array({"0.jpg": CODES[0]}, object), allow_pickle=True)
    with pytest.raises(CheckpointError, match="pickled Python objects .*save the array alone"):
        read(pickled)
    whole = save(tmp_path / "cut.npy", CODES).read_bytes()
    for damaged in (whole[:-1], whole[:100], whole[:50], whole.replace(b"{", b"(", 1)):
        (tmp_path / "cut.npy").write_bytes(damaged)
        with pytest.raises(CheckpointError, match="cut.npy: truncated"):
            read(tmp_path / "cut.npy")
    with pytest.raises(CheckpointError, match="expected one tensor, found dict"):
        read(save(tmp_path / "dict.pt", {"w": torch.zeros(1, 512)}))


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_codes_of_one_file_are_read(suffix: str, dtype: type, tmp_path: Path) -> None:
    found = read_codes(save(tmp_path / f"latents{suffix}", CODES.astype(dtype)))
    assert found.names is None
    assert found.w.dtype == np.float32
    np.testing.assert_array_equal(found.w, CODES.astype(dtype).astype(np.float32))


def test_codes_of_bfloat16_are_read(tmp_path: Path) -> None:
    path = save(tmp_path / "latents.pt", torch.from_numpy(CODES).bfloat16().requires_grad_())
    # Eight bits of mantissa.
    np.testing.assert_allclose(read_codes(path).w, CODES, rtol=2**-8)


def test_a_large_file_stays_on_disk(tmp_path: Path) -> None:
    w = read_codes(save(tmp_path / "latents.npy", CODES)).w
    owner: Any = w
    while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
        owner = owner.base
    assert isinstance(owner, np.memmap)


def test_codes_of_a_folder_keep_the_names_of_their_files(tmp_path: Path) -> None:
    for index, name in enumerate(("2.npy", "10.pt", "0.npy", "1.npy")):
        save(tmp_path / name, CODES[index : index + 1] if index % 2 else CODES[index])
    (tmp_path / "2.png").touch()
    found = read_codes(tmp_path)
    assert found.names == ("0.npy", "1.npy", "10.pt", "2.npy")
    np.testing.assert_array_equal(found.w, CODES[[2, 3, 1, 0]])


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (CODES[0], r"expected shape \(N, n, 512\), found \(18, 512\)"),
        (CODES[:, :, :500], r"found \(5, 18, 500\)"),
        (CODES[:0], r"found \(0, 18, 512\)"),
        (np.where(np.arange(5)[:, None, None] == 3, np.inf, CODES), "expected finite numbers"),
        (CODES.astype(np.float64) * 1e300, "expected finite numbers"),
    ],
)
def test_other_codes_are_refused(w: Any, message: str, tmp_path: Path) -> None:  # noqa: ANN401
    for suffix in (".npy", ".pt"):
        with pytest.raises(CheckpointError, match=message):
            read_codes(save(tmp_path / f"latents{suffix}", w))


def test_other_folders_of_codes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected .npy or .pt files, found none"):
        read_codes(tmp_path)
    save(tmp_path / "0.npy", CODES[0])
    save(tmp_path / "1.npy", CODES[0, :14])
    with pytest.raises(CheckpointError, match=r"1.npy: expected shape \(18, 512\) as in 0.npy"):
        read_codes(tmp_path)
    save(tmp_path / "1.npy", CODES[:2])
    with pytest.raises(CheckpointError, match=r"1.npy: .* or \(1, n, 512\), found \(2, 18, 512\)"):
        read_codes(tmp_path)
    save(tmp_path / "1.npy", CODES[0]).rename(tmp_path / "0.pt")
    with pytest.raises(CheckpointError, match="0.pt: expected one file per picture"):
        read_codes(tmp_path)
