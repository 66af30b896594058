"""Codes in a Parquet file: for pandas, DuckDB and whatever else reads columns.

Columns: `name` (text) and `code`, a list of n x 512 float32 or float16 of fixed length, row after
row of the code. Metadata of the schema: `n`, `space` and `space_id`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from wstar.code_blocks import CodeBlock, faces_per_block
from wstar.codes import CodeArray
from wstar.extras import extra
from wstar.graphs import W_DIM, Space

# A file of a few hundred bytes can claim, in the headers of its pages, to hold billions of zeros.
MAX_DECODED_BYTES = 2 * 2**30
_BUFFER_BYTES = 2**20
# By Arrow's names.
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "halffloat": np.dtype(np.float16),
}


def write_parquet(
    path: Path, names: Sequence[str], values: CodeArray, space: Space, space_id: str
) -> None:
    """Write codes (faces, n, 512), a block per row group; a memory map is copied piece by piece."""
    pa, pq = extra("pyarrow"), extra("pyarrow.parquet")
    faces, n = values.shape[:2]
    item = pa.field("element", pa.from_numpy_dtype(values.dtype), nullable=False)
    fields = [
        pa.field("name", pa.string(), nullable=False),
        pa.field("code", pa.list_(item, n * W_DIM), nullable=False),
    ]
    metadata = {"n": str(n), "space": space.value, "space_id": space_id}
    schema = pa.schema(fields, metadata)
    # Codes are noise to a compressor, and no two numbers are alike.
    with pq.ParquetWriter(
        path, schema, compression="none", use_dictionary=False, write_statistics=False
    ) as writer:
        step = faces_per_block(n, values.dtype)
        for start in range(0, faces, step):
            part = np.ascontiguousarray(values[start : start + step])
            codes = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), type=fields[1].type)
            columns = [pa.array(names[start : start + step], pa.string()), codes]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def parquet_blocks(file: BinaryIO) -> Iterator[CodeBlock]:
    """Read codes block by block.

    Raises almost anything on damaged bytes: pyarrow's errors, ValueError, KeyError, MemoryError.
    """
    pq = extra("pyarrow.parquet")
    with _bounded():
        # Unless told, it would keep all that it has read of the file.
        opened = pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        n, space, space_id, dtype = _described(opened.schema_arrow)
        step = faces_per_block(n, dtype)
        batches = opened.iter_batches(step, columns=["name", "code"], use_threads=False)
    while (found := _next(batches, n)) is not None:
        names, values = found
        yield CodeBlock(names, values, space, space_id)


def _next(batches: Iterator[Any], n: int) -> tuple[list[str], CodeArray] | None:
    """Decode one batch: names and (faces, n, 512); None at the end."""
    lengths_of = extra("pyarrow.compute").list_value_length
    with _bounded():
        batch = next(batches, None)
        if batch is None:
            return None
        names, codes = batch.column("name"), batch.column("code")
        if names.null_count or codes.null_count:
            raise ValueError("a face without name or code")
        if (lengths_of(codes).to_numpy(zero_copy_only=False) != n * W_DIM).any():
            raise ValueError(f"a code that is not {n} x {W_DIM} numbers")
        # Refuses numbers that are missing.
        numbers = codes.flatten().to_numpy(zero_copy_only=True)
        return names.to_pylist(), numbers.reshape(-1, n, W_DIM)


def _described(schema: Any) -> tuple[int, Space, str, np.dtype[Any]]:  # noqa: ANN401
    """Read n, space, space id and number type off a schema."""
    told: Mapping[bytes, bytes] = schema.metadata or {}
    missing = [key for key in ("n", "space", "space_id") if key.encode() not in told]
    if missing:
        raise ValueError(f"no {', '.join(missing)} in the metadata")
    n = int(told[b"n"])
    if str(schema.field("name").type) not in ("string", "large_string"):
        raise ValueError(f"names of type {schema.field('name').type}")
    # Others, such as DuckDB, write lists of any length.
    numbers = schema.field("code").type
    size, kind = getattr(numbers, "list_size", n * W_DIM), getattr(numbers, "value_type", None)
    if size != n * W_DIM or str(kind) not in _DTYPES:
        raise ValueError(f"codes of type {numbers} with n = {n}")
    return n, Space(told[b"space"].decode()), told[b"space_id"].decode(), _DTYPES[str(kind)]


@contextmanager
def _bounded() -> Iterator[None]:
    """Let this process grow by no more than MAX_DECODED_BYTES: pyarrow itself sets no bound.

    The bound is of the whole process, for as long as one block is decoded, and on Linux only.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    allowed = pages * resource.getpagesize() + MAX_DECODED_BYTES
    limits = [limit for limit in (allowed, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
