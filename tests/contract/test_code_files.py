"""Codes on disk: both types of file hold the same, and both refuse what is damaged or another's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wstar import code_blocks, code_files
from wstar.code_files import ENDINGS, read_blocks, read_codes, write_codes
from wstar.codes import CodeArray
from wstar.errors import InvalidInput
from wstar.extras import extra
from wstar.graphs import Space

NAMES = ["a.png", "b.png", "ü c.png"]


def codes(faces: int = 3, n: int = 2, dtype: type = np.float32) -> CodeArray:
    """Codes of which no two numbers are alike."""
    numbers = np.random.default_rng(7).normal(size=(faces, n, 512))
    return numbers.astype(np.float16) if dtype is np.float16 else numbers.astype(np.float32)


@pytest.fixture(params=ENDINGS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of each type."""
    return tmp_path / f"codes{request.param}"


@settings(max_examples=20)
@given(
    n=st.integers(1, 18),
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
    space=st.sampled_from(Space),
    half=st.booleans(),
    ending=st.sampled_from(ENDINGS),
)
def test_what_goes_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory,
    n: int,
    names: list[str],
    space: Space,
    half: bool,
    ending: str,
) -> None:
    path = tmp_path_factory.mktemp("codes") / f"codes{ending}"
    names = [*names, "last.png"]
    values = codes(len(names), n, np.float16 if half else np.float32)
    write_codes(path, names, values, space, "an id")
    found_names, found = read_codes(path)
    assert found_names == names
    assert {(code.space, code.space_id) for code in found} == {(space, "an id")}
    for one, other in zip(found, values, strict=True):
        assert one.values.dtype == other.dtype
        np.testing.assert_array_equal(one.values, other)


def test_an_old_file_is_replaced_and_nothing_else_is_left(path: Path) -> None:
    path.write_text("old")
    write_codes(path, NAMES, codes(), Space.W_STAR, "an id")
    assert read_codes(path)[0] == NAMES
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match="codes"):
        write_codes(path, NAMES, codes(), Space.W_STAR, "an id")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 2, 511), np.float32),
        np.zeros((3, 2, 512), np.float64),
        np.full((3, 2, 512), np.nan, np.float32),
    ],
)
def test_what_is_no_code_is_not_written(path: Path, values: CodeArray) -> None:
    with pytest.raises((InvalidInput, ValueError)):
        write_codes(path, NAMES, values, Space.W_STAR, "an id")
    assert not path.exists()


def test_a_file_is_read_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = codes(7)
    # Two codes and a half.
    monkeypatch.setattr(code_blocks, "BLOCK_BYTES", 10_000)
    write_codes(path, list("abcdefg"), values, Space.W_STAR, "an id")
    found = list(read_blocks(path))
    assert [block.names for block in found] == [["a", "b"], ["c", "d"], ["e", "f"], ["g"]]
    np.testing.assert_array_equal(np.concatenate([block.values for block in found]), values)
    monkeypatch.setattr(code_blocks, "BLOCK_BYTES", 1000)
    with pytest.raises(InvalidInput, match="codes of 2 rows"):
        list(read_blocks(path))


def test_memory_stays_flat_however_large_a_file_is(path: Path) -> None:
    """A file of 369 MB is written and read with at most 240 MB of memory.

    A block is 34 MB, and two of them are in memory while one becomes the next; Arrow adds its
    levels and what its allocator keeps (189 MB seen, for 5,000 and for 15,000 faces). The codes to
    write are mapped from a file: the kernel takes those pages back, and they are not counted.
    """
    code = """
import sys, resource
from pathlib import Path
import numpy as np
from wstar.code_files import read_blocks, write_codes
from wstar.extras import extra
from wstar.extras import extra
from wstar.graphs import Space
path = Path(sys.argv[1])
extra("pyarrow.parquet")
def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024
peak = start = anonymous()
values = np.memmap(path.with_suffix(".raw"), np.float32, "w+", 0, (10000, 18, 512))
write_codes(path, [str(i) for i in range(10000)], values, Space.W_STAR, "an id")
peak, count = max(peak, anonymous()), 0
for block in read_blocks(path):
    peak, count = max(peak, anonymous()), count + len(block.names)
print(count, peak - start)
"""
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    count, grown = map(int, done.stdout.split())
    assert path.stat().st_size > 10000 * 18 * 512 * 4
    assert count == 10000
    assert grown < 240e6


def test_a_file_of_something_else_is_refused(path: Path) -> None:
    for content in (b"", b"hello", b"PK\x05\x06" + bytes(18), b"PAR1" + bytes(40) + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(InvalidInput, match=f"{path.name}: found "):
            read_codes(path)


def test_a_file_cut_short_is_refused(path: Path) -> None:
    write_codes(path, NAMES, codes(n=1), Space.W_STAR, "an id")
    data = path.read_bytes()
    for kept in range(0, len(data), 301):
        path.write_bytes(data[:kept])
        with pytest.raises(InvalidInput, match=path.name):
            read_codes(path)


def test_a_file_with_a_changed_byte_is_read_or_refused(path: Path) -> None:
    """Parquet has no check sum of its codes: a changed number is another number."""
    values = codes(n=1)
    write_codes(path, NAMES, values, Space.W_STAR, "an id")
    data = path.read_bytes()
    refused = 0
    for at in range(0, len(data), 17):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            names, found = read_codes(path)
        except InvalidInput as error:
            assert str(error).startswith(f"{path}: found ")
            refused += 1
        else:
            assert len(names) == len(found) == 3
            assert path.suffix == ".parquet" or (found[1].values == values[1]).all()
    assert refused > (len(data) / 17 / 2 if path.suffix == ".npz" else 10)


def test_a_file_grows_to_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_files, "MAX_INFLATED_BYTES", 10_000)
    write_codes(path, NAMES, codes(), Space.W_STAR, "an id")
    assert len(read_codes(path)[1]) == 3
    zeros = np.zeros((3, 2, 512), np.float32)
    if path.suffix == ".npz":
        np.savez_compressed(
            path, codes=zeros, names=NAMES, space=np.array("W_STAR"), space_id=np.array("id")
        )
    else:
        pq = extra("pyarrow.parquet")
        write_codes(path, NAMES, zeros, Space.W_STAR, "an id")
        pq.write_table(pq.read_table(path), path, compression="zstd")
    assert path.stat().st_size < 10_000
    with pytest.raises(InvalidInput, match="12288 bytes of codes"):
        read_codes(path)
