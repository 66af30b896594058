"""Arrays that others saved, as `.npy` or by torch; which of the two is seen from the content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wstar.errors import CheckpointError
from wstar_training.models.weights import content

_NPY = b"\x93NUMPY"


def read_array(path: Path) -> NDArray[Any]:
    """Read the array of floating-point numbers that is all of a file; mapped, not copied.

    Raises
    ------
    CheckpointError: no such file, a truncated one, another format, pickled objects, or something
    other than one array of floating-point numbers.
    """
    try:
        with path.open("rb") as file:
            is_npy = file.read(len(_NPY)) == _NPY
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    array = _npy(path) if is_npy else _tensor(path)
    if array.dtype.kind != "f":
        raise CheckpointError(f"{path}: expected floating-point numbers, found {array.dtype}")
    return array


def _npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # Damaged headers make numpy raise nearly anything.
        if "Python objects" in str(error):
            raise CheckpointError(
                f"{path}: expected an array of numbers, found pickled Python objects (such as a "
                "dict of arrays), which cannot be read without running them; save the array alone"
            ) from error
        raise CheckpointError(f"{path}: truncated, or no .npy file: {error}") from error
    return array


def _tensor(path: Path) -> NDArray[Any]:
    tensor = content.read(path)
    if not isinstance(tensor, Tensor):
        raise CheckpointError(f"{path}: expected one tensor, found {type(tensor).__name__}")
    # numpy has no bfloat16.
    plain = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
    array: NDArray[Any] = plain.detach().numpy()
    return array
