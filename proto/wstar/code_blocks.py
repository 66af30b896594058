"""Stored codes in pieces: what the readers of both file types have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wstar.codes import Code, CodeArray
from wstar.graphs import W_DIM, Space

# Of a file, this much is in memory at once.
BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True, eq=False)
class CodeBlock:
    """Some codes of a file, one space throughout.

    names: what each face was called.
    values: (faces, n, 512) float32 or float16, finite.
    """

    names: list[str]
    values: CodeArray
    space: Space
    space_id: str

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together and numbers that are not finite."""
        if self.values.ndim != 3 or len(self.names) != len(self.values):
            shapes = f"{len(self.names)} names and codes of shape {self.values.shape}"
            raise ValueError(f"{shapes} instead of (faces, n, {W_DIM})")
        # What holds for one code of the block holds for all, but for being finite.
        Code(self.values[0], self.space, self.space_id)
        if not np.isfinite(self.values).all():
            raise ValueError("nan or infinity")

    @property
    def codes(self) -> list[Code]:
        """The codes one by one."""
        return [Code(values, self.space, self.space_id) for values in self.values]


def faces_per_block(n: int, dtype: np.dtype[np.floating]) -> int:
    """How many codes of (n, 512) a block holds; ValueError if not even one."""
    faces = BLOCK_BYTES // max(1, n * W_DIM * dtype.itemsize)
    if n < 1 or faces < 1:
        raise ValueError(f"codes of {n} rows")
    return faces
