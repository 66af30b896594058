"""An ONNX graph and its weights on disk: in one file, or the weights in a second one beside it.

A protobuf ends at 2 GiB, and whoever reads one holds all of it in memory twice. Beside the graph,
weights are mapped by the engine that runs them.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, external_data_helper

# Above it weights go beside the graph.
INLINE_BYTES = 256 * 2**20
# A page: what is mapped starts where the memory of its numbers may start.
_ALIGNMENT = 4096

_WEIGHTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8)

Weights = Mapping[str, NDArray[Any]]


def data_path(path: Path) -> Path:
    """Where the weights of the graph at `path` lie if they are not in it."""
    return path.with_name(f"{path.name}.data")


def write_model(
    model: ModelProto, weights: Weights, path: Path, inline_bytes: int = INLINE_BYTES
) -> None:
    """Check a graph and write it with its weights; both files appear whole or not at all.

    An old graph at `path` is replaced, with its file of weights. There is no moment at which a
    reader finds one graph with the weights of another: it finds none instead.

    Parameters
    ----------
    model: its initializers named in `weights` have type and shape but no numbers yet; they are
        left without when this returns.
    weights: array by initializer name, of the initializer's type and shape.
    inline_bytes: up to this many bytes of weights are written into the graph.

    Raises
    ------
    onnx.checker.ValidationError: the graph is not valid ONNX.
    """
    # Beside the target: a rename is atomic only within one file system.
    made = path.with_name(f".{path.name}.{os.getpid()}.partial")
    made.mkdir()
    try:
        staged = made / path.name
        if sum(array.nbytes for array in weights.values()) > inline_bytes:
            with data_path(staged).open("wb") as file:
                _write_beside(model, weights, file, data_path(path).name)
        else:
            _fill(model, weights)
        staged.write_bytes(model.SerializeToString(deterministic=True))
        _empty(model, weights)
        onnx.checker.check_model(str(staged), full_check=True)
        move_model(staged, path)
    finally:
        shutil.rmtree(made)


def move_model(source: Path, target: Path) -> None:
    """Rename a graph and its file of weights, within one file system and to the same name.

    An old graph at `target` goes first, and the new one comes last: whoever finds a graph finds
    its weights.
    """
    target.unlink(missing_ok=True)
    data_path(target).unlink(missing_ok=True)
    if data_path(source).exists():
        data_path(source).rename(data_path(target))
    source.rename(target)


def read_model(path: Path) -> tuple[ModelProto, dict[str, NDArray[Any]]]:
    """Read a graph as `write_model` takes it; weights beside the graph stay on disk, mapped."""
    model = onnx.load(path, load_external_data=False)
    return model, take_weights(model, path.parent)


def take_weights(model: ModelProto, folder: Path) -> dict[str, NDArray[Any]]:
    """Take the weights out of a graph that `folder` holds, or that has none outside itself.

    Shapes and indices stay: checker and engines read them to infer shapes.
    """
    weights: dict[str, NDArray[Any]] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type not in _WEIGHTS or math.prod(tensor.dims) < 2:
            continue
        if external_data_helper.uses_external_data(tensor):
            place = external_data_helper.ExternalDataInfo(tensor)
            weights[tensor.name] = np.memmap(
                folder / place.location,
                onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type),
                "r",
                int(place.offset or 0),
                tuple(tensor.dims),
            )
        else:
            weights[tensor.name] = onnx.numpy_helper.to_array(tensor)
    _empty(model, weights)
    return weights


def model_bytes(path: Path) -> int:
    """Bytes of a graph and of its file of weights."""
    files = [path, data_path(path)] if data_path(path).exists() else [path]
    return sum(file.stat().st_size for file in files)


def _write_beside(model: ModelProto, weights: Weights, file: IO[bytes], location: str) -> None:
    for tensor in model.graph.initializer:
        if tensor.name not in weights:
            continue
        file.write(b"\0" * (-file.tell() % _ALIGNMENT))
        offset, array = file.tell(), weights[tensor.name]
        # Straight to the file: torch's memory is written as it is.
        file.flush()
        array.tofile(file)
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": location, "offset": str(offset), "length": str(array.nbytes)}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=value)


def _fill(model: ModelProto, weights: Weights) -> None:
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.raw_data = weights[tensor.name].tobytes()


def _empty(model: ModelProto, weights: Weights) -> None:
    """Leave type and shape of the weights, so that memory holds their numbers once."""
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            kept = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            tensor.CopyFrom(kept)
