"""Directions that others found: InterFaceGAN's boundaries, the editing directions of e4e."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wstar.errors import CheckpointError
from wstar_training.data.arrays import read_array

_WIDTH = 512
# float32 leaves 1e-6; a direction that was never normalised is far off.
_TOLERANCE = 1e-4


def read_boundary(path: Path) -> NDArray[np.float64]:
    """Read a direction: `.npy` [1, 512], or a torch file of [1, 512] or [1, n, 512].

    InterFaceGAN's own boundaries belong to PGGAN and StyleGAN1, and mean nothing in the W+ of
    StyleGAN2; those trained with its script on codes of StyleGAN2 do.

    Returns float64 (512,), of norm 1, or (n, 512), one direction per row of a code, of norm √n.

    Raises
    ------
    CheckpointError: a file that `wstar_training.data.arrays` refuses, another shape, another norm.
    """
    array = read_array(path)
    if array.ndim not in (2, 3) or array.shape[0] != 1 or array.shape[-1] != _WIDTH:
        raise CheckpointError(
            f"{path}: expected shape (1, {_WIDTH}) or (1, n, {_WIDTH}), found {array.shape}"
        )
    direction = np.array(array[0], np.float64)
    expected = np.sqrt(direction.size / _WIDTH)
    norm = float(np.linalg.norm(direction))
    if not abs(norm / expected - 1) <= _TOLERANCE:
        raise CheckpointError(f"{path}: expected norm {expected:.6g}, found {norm:.6g}")
    return direction
