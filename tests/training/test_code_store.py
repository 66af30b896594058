"""The folder of codes survives whatever happens to its writer, and refuses to be mixed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.encoding.journal import Plan
from wstar_training.encoding.manifest import read_codes
from wstar_training.encoding.pictures import Picture
from wstar_training.encoding.store import opened

N = 3
PLAN = Plan(
    encoder_file="psp.pt",
    encoder_sha256="0" * 64,
    side=16,
    n_latent=N,
    preprocessing="none",
    landmarks_sha256=None,
    batch=2,
    device="cpu",
    pictures=[Picture(f"{i}.png", 100 + i) for i in range(5)],
)
BATCHES: list[tuple[list[int], dict[str, str]]] = [
    ([0], {"1.png": "damaged"}),
    ([2, 3], {}),
    ([4], {}),
]


def rows(values: list[int]) -> NDArray[np.float32]:
    return np.ones((len(values), N, 512), np.float32) * np.array(values, np.float32)[:, None, None]


def write(folder: Path, until: int = len(BATCHES)) -> None:
    """Go on up to a batch; finish after the last."""
    with opened(folder, PLAN) as store:
        for values, skipped in BATCHES[store.batches : until]:
            store.add(rows(values), skipped)
        if store.batches == len(BATCHES) and not store.complete:
            store.finish()


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("torn", [b"", b'{"rows":9', b"\0\0\0\0", b"[1]\n", b'{"rows":9}\n'])
@pytest.mark.parametrize("until", [0, 1, 2, 3])
def test_what_was_interrupted_ends_as_what_was_not(tmp_path: Path, until: int, torn: bytes) -> None:
    """Whatever a dying writer left beyond the last whole line is as if it had never been."""
    write(tmp_path / "whole")
    partial = tmp_path / "partial"
    write(partial, until)
    if until < len(BATCHES):
        with (partial / "journal.jsonl").open("ab") as journal:
            journal.write(torn)
        with (partial / "codes.npy").open("r+b") as codes:
            codes.seek(-N * 512 * 4, 2)
            codes.write(b"\xff" * N * 512 * 4)
    write(partial)
    assert content(partial) == content(tmp_path / "whole")


def test_reader_gives_rows_by_name(tmp_path: Path) -> None:
    write(tmp_path)
    read = read_codes(tmp_path)
    assert read.files == ["0.png", "2.png", "3.png", "4.png"]
    assert read.skipped == {"1.png": "damaged"}
    assert isinstance(read.w, np.memmap)
    np.testing.assert_array_equal(read.w, rows([0, 2, 3, 4]))
    assert (read.encoder_file, read.encoder_sha256, read.side) == ("psp.pt", "0" * 64, 16)


def test_codes_are_a_npy_file_from_the_first_moment(tmp_path: Path) -> None:
    write(tmp_path, until=1)
    w = np.load(tmp_path / "codes.npy", mmap_mode="r")
    assert w.shape == (5, N, 512)
    np.testing.assert_array_equal(w[:1], rows([0]))


@pytest.mark.parametrize("until", [0, 2])
def test_half_done_folder_is_not_read(tmp_path: Path, until: int) -> None:
    write(tmp_path, until)
    with pytest.raises(CheckpointError, match="run the same command to finish"):
        read_codes(tmp_path)


def test_folder_without_codes_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        read_codes(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("format", 2), ("shape", [5, N, 512]), ("files", ["0.png"]), ("skipped", None)],
)
def test_manifest_that_disagrees_is_not_read(tmp_path: Path, key: str, value: object) -> None:
    write(tmp_path)
    manifest: dict[str, Any] = json.loads((tmp_path / "manifest.json").read_bytes())
    if value is None:
        del manifest[key]
    else:
        manifest[key] = value
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        read_codes(tmp_path)


@pytest.mark.parametrize("until", [1, 3])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder_sha256", "1" * 64),
        ("side", 32),
        ("n_latent", 4),
        ("preprocessing", "another"),
        ("landmarks_sha256", "2" * 64),
        ("batch", 3),
        ("device", "cuda"),
    ],
)
def test_other_plan_is_refused_with_both(
    tmp_path: Path, name: str, value: object, until: int
) -> None:
    write(tmp_path, until)
    before = content(tmp_path)
    with (
        pytest.raises(InvalidInput) as refusal,
        opened(tmp_path, replace(PLAN, **{name: value})),  # type: ignore[arg-type]
    ):
        pass
    assert refusal.value.field == name
    assert repr(value) in str(refusal.value)
    assert repr(getattr(PLAN, name)) in str(refusal.value)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("pictures", "first"),
    [
        (PLAN.pictures[:3], "3.png"),
        ([*PLAN.pictures, Picture("a.png", 1), Picture("b.png", 1)], "a.png"),
        ([Picture("0.png", 1), *PLAN.pictures[1:]], "0.png"),
    ],
)
def test_other_pictures_are_refused_with_the_first(
    tmp_path: Path, pictures: list[Picture], first: str
) -> None:
    write(tmp_path, until=1)
    with (
        pytest.raises(InvalidInput, match=f"pictures: {first}"),
        opened(tmp_path, replace(PLAN, pictures=pictures)),
    ):
        pass


def test_renamed_encoder_file_is_the_same_encoder(tmp_path: Path) -> None:
    write(tmp_path, until=1)
    with opened(tmp_path, replace(PLAN, encoder_file="renamed.pt")) as store:
        assert (store.batches, store.plan) == (1, PLAN)


def test_folder_without_a_code_is_begun_anew(tmp_path: Path) -> None:
    with opened(tmp_path, PLAN) as store:
        store.add(rows([]), {"0.png": "no", "1.png": "no"})
        with pytest.raises(CheckpointError, match=r"none of 5 pictures .*0\.png: no"):
            store.finish()
    with opened(tmp_path, replace(PLAN, batch=4)) as store:
        assert (store.batches, store.skipped, store.plan.batch) == (0, {}, 4)


def test_codes_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "codes.npy").write_bytes(b"precious")
    with pytest.raises(CheckpointError, match="choose another"), opened(tmp_path, PLAN):
        pass
    assert (tmp_path / "codes.npy").read_bytes() == b"precious"


def test_lost_codes_are_noticed(tmp_path: Path) -> None:
    write(tmp_path, until=2)
    (tmp_path / "codes.npy").unlink()
    with pytest.raises(CheckpointError, match="found 0"), opened(tmp_path, PLAN):
        pass


def test_codes_cut_short_after_their_end_are_noticed(tmp_path: Path) -> None:
    write(tmp_path)
    whole = (tmp_path / "codes.npy").read_bytes()
    (tmp_path / "codes.npy").write_bytes(whole[:-1])
    with (
        pytest.raises(CheckpointError, match=f"expected {len(whole)} bytes, found"),
        opened(tmp_path, PLAN),
    ):
        pass


def test_other_content_than_one_array_is_not_read(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "codes.npy").write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_codes(tmp_path)
    with (tmp_path / "codes.npy").open("wb") as file:
        np.savez(file, w=np.zeros(3))
    with pytest.raises(CheckpointError, match="one array"):
        read_codes(tmp_path)


@pytest.mark.parametrize("text", [b"", b"no json\n", b"[]\n", b'{"format":2}\n', b'{"format":1}\n'])
def test_journal_of_another_kind_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "journal.jsonl").write_bytes(text)
    with pytest.raises(CheckpointError, match="no journal of this version"):
        write(tmp_path)


def test_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from wstar.errors import CheckpointError
from wstar_training.encoding.store import locked
try:
    with locked(Path(sys.argv[1])):
        print("free")
except CheckpointError as error:
    print(error)
"""

    def other() -> str:
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with opened(tmp_path, PLAN):
        assert other() == f"{tmp_path}: another process is writing into it"
    assert other() == "free"
