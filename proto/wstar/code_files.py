"""Codes on disk: one file for codes of one space, .npz or Parquet by the ending of its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wstar.code_blocks import CodeBlock
from wstar.codes import Code, CodeArray
from wstar.errors import InvalidInput
from wstar.extras import MissingPackage
from wstar.files import replacing
from wstar.graphs import Space
from wstar.npz_codes import npz_blocks, write_npz
from wstar.parquet_codes import parquet_blocks, write_parquet

# Most that a compressed file may grow to; an uncompressed one is no larger than its file.
MAX_INFLATED_BYTES = 2**30
ENDINGS = (".npz", ".parquet")


def holds_codes(path: str | Path) -> bool:
    """Tell by its name whether a file holds codes."""
    return Path(path).suffix in ENDINGS


def write_codes(
    path: Path, names: Sequence[str], values: CodeArray, space: Space, space_id: str
) -> None:
    """Write codes of one space and the names of their faces; an old file is replaced.

    values: (faces, n, 512) float32 or float16, 1 face or more; a memory map stays on disk.

    Raises
    ------
    MissingPackage: a .parquet file without pyarrow. OSError: the file cannot be written.
    """
    CodeBlock(list(names[:1]), values[:1], space, space_id)
    write = write_parquet if path.suffix == ".parquet" else write_npz
    with replacing(path) as partial:
        write(partial, names, values, space, space_id)


def read_blocks(path: Path) -> Iterator[CodeBlock]:
    """Read a file that `write_codes` wrote piece by piece, at least one, of one space.

    A damaged file may show only at its last piece.

    Raises
    ------
    InvalidInput: another or a damaged file, or arrays that do not fit together; it names the file.
    MissingPackage: a .parquet file without pyarrow. OSError: the file cannot be opened.
    """
    read = parquet_blocks if path.suffix == ".parquet" else npz_blocks
    found = None
    with path.open("rb") as file:
        try:
            for found in read(file):
                yield found
            if found is None:
                raise ValueError("no codes")
        except MissingPackage:
            raise
        # The readers raise almost anything on damaged bytes.
        except Exception as error:
            told = str(error) or type(error).__name__
            raise InvalidInput(str(path), told, "a file that `wstar embed` wrote") from error


def read_whole(path: Path) -> CodeBlock:
    """Read a file as one block, with what `read_blocks` raises.

    InvalidInput also: codes of more bytes than the file has, and than 1 GiB.
    """
    names: list[str] = []
    parts: list[NDArray[Any]] = []
    most, size_bytes = max(MAX_INFLATED_BYTES, path.stat().st_size), 0
    for block in read_blocks(path):
        size_bytes += block.values.nbytes
        if size_bytes > most:
            raise InvalidInput(str(path), f"{size_bytes} bytes of codes", f"at most {most}")
        names += block.names
        parts.append(block.values)
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return CodeBlock(names, values, block.space, block.space_id)


def read_codes(path: Path) -> tuple[list[str], list[Code]]:
    """Read all names and codes of a file, with what `read_whole` raises."""
    found = read_whole(path)
    return found.names, found.codes
