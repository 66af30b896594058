"""The Parquet file of codes: what pandas, DuckDB and Arrow read, and columns that are no codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wstar.code_files import read_codes, write_codes
from wstar.errors import InvalidInput
from wstar.graphs import Space
from wstar.parquet_codes import MAX_DECODED_BYTES

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra: cli)")
pq = pytest.importorskip("pyarrow.parquet")

HOSTILE = Path(__file__).resolve().parents[1] / "data" / "claims_zeros.parquet"
VALUES = np.random.default_rng(3).normal(size=(4, 2, 512)).astype(np.float32)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Four codes of two rows."""
    path = tmp_path / "codes.parquet"
    write_codes(path, list("abcd"), VALUES, Space.W_STAR, "an id")
    return path


def test_arrow_reads_names_vectors_and_the_space(stored: Path) -> None:
    table = pq.read_table(stored)
    assert table.schema.metadata == {b"n": b"2", b"space": b"W_STAR", b"space_id": b"an id"}
    assert table.column("name").to_pylist() == list("abcd")
    assert table.schema.field("code").type == pa.list_(
        pa.field("element", pa.float32(), nullable=False), 1024
    )
    np.testing.assert_array_equal(
        np.array(table.column("code").to_pylist(), np.float32), VALUES.reshape(4, -1)
    )
    # Codes lie in the file as they are: no larger than a .npz file.
    assert stored.stat().st_size < VALUES.nbytes + 4000


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_a_file_that_another_program_wrote_again_is_read(stored: Path, compression: str) -> None:
    pq.write_table(pq.read_table(stored), stored, compression=compression, row_group_size=3)
    names, codes = read_codes(stored)
    assert names == list("abcd")
    np.testing.assert_array_equal(np.array([code.values for code in codes]), VALUES)


def test_lists_of_any_length_are_read_if_all_have_the_right_one(stored: Path) -> None:
    """As DuckDB writes them."""
    table = pq.read_table(stored)
    lists = table.column("code").cast(pa.list_(pa.float32()))
    columns = pa.table({"name": table.column("name"), "code": lists})
    pq.write_table(columns.replace_schema_metadata(table.schema.metadata), stored)
    np.testing.assert_array_equal(np.array([c.values for c in read_codes(stored)[1]]), VALUES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metadata": None}, "no n, space, space_id in the metadata"),
        ({"metadata": {"n": "2", "space": "W_STAR"}}, "no space_id in the metadata"),
        ({"metadata": {"n": "1", "space": "W_STAR", "space_id": "i"}}, "with n = 1"),
        ({"metadata": {"n": "x", "space": "W_STAR", "space_id": "i"}}, "invalid literal"),
        ({"metadata": {"n": "2", "space": "W", "space_id": "i"}}, "'W' is not a valid Space"),
        ({"code": pa.array([[1.0]] * 4, pa.list_(pa.float32(), 1))}, "with n = 2"),
        ({"code": pa.array([[1.0] * 1024] * 3 + [[]], pa.list_(pa.float32()))}, "not 2 x 512"),
        ({"code": pa.array(["1"] * 4)}, "codes of type string"),
        ({"code": pa.array([[None] * 1024] * 4, pa.list_(pa.float32(), 1024))}, "codes.parquet"),
        ({"code": pa.array([[1.0] * 1024] * 4, pa.list_(pa.float64(), 1024))}, "double"),
        ({"code": pa.array([[np.nan] * 1024] * 4, pa.list_(pa.float32(), 1024))}, "nan"),
        ({"code": pa.array([None] * 4, pa.list_(pa.float32(), 1024))}, "without name or code"),
        ({"name": pa.array([1, 2, 3, 4])}, "names of type int64"),
        ({"name": pa.array(["a", None, "c", "d"])}, "without name or code"),
    ],
)
def test_columns_that_are_no_codes_are_refused(
    stored: Path, change: dict[str, Any], said: str
) -> None:
    table = pq.read_table(stored)
    columns = {name: change.get(name, table.column(name)) for name in ("name", "code")}
    metadata = change.get("metadata", table.schema.metadata)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), stored)
    with pytest.raises(InvalidInput, match=said):
        read_codes(stored)


def test_billions_of_zeros_in_a_small_file_end_in_a_refusal() -> None:
    """The schema of the file promises one code of 1024 numbers; its pages hold 2^29 zeros.

    pyarrow wrote it: one list of so many zeros (dictionary and run lengths: 935 bytes), no Arrow
    schema, and that of an honest file as ARROW:schema in the metadata. Decoded it is 4 GiB.
    """
    if sys.platform != "linux":
        pytest.skip("memory is bounded on Linux only")
    code = """
import sys
from pathlib import Path
from wstar.code_files import read_codes
from wstar.errors import InvalidInput
try:
    read_codes(Path(sys.argv[1]))
except InvalidInput as error:
    print(error)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(HOSTILE)], capture_output=True, text=True, check=True
    )
    said, peak_kib = done.stdout.splitlines()
    assert "claims_zeros.parquet: found 'realloc of size" in said
    # The bound of growth, and 200 MB for Python and its packages.
    assert int(peak_kib) * 1024 < MAX_DECODED_BYTES + 200e6
