"""Arrays as inputs and outputs of Triton's requests, through shared memory or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput, InferRequestedOutput

from wstar.errors import ContractMismatch
from wstar.graphs import TensorSpec
from wstar_service.runner import Array
from wstar_service.triton_regions import Region

_DATATYPES = {"uint8": "UINT8", "float32": "FP32"}


def given(tensor: TensorSpec, array: Array, region: Region | None) -> InferInput:
    """Make an input of a request, its numbers in the request or in a region."""
    found = InferInput(tensor.name, list(array.shape), _DATATYPES[tensor.dtype])
    if region is None:
        found.set_data_from_numpy(array)
    else:
        np.copyto(region.view(array.shape), array)
        found.set_shared_memory(region.name, array.nbytes)
    return found


def wanted(tensor: TensorSpec, batch: int, region: Region | None) -> InferRequestedOutput:
    """Make an output that a request asks for, in the reply or in a region."""
    wanted = InferRequestedOutput(tensor.name)
    if region is not None:
        wanted.set_shared_memory(region.name, batch * math.prod(tensor.shape))
    return wanted


def taken(
    graph: str,
    tensor: TensorSpec,
    batch: int,
    reply: Any,  # noqa: ANN401
    region: Region | None,
) -> Array:
    """One output of a reply, checked: a broken backend answers ready with empty tensors."""
    found = reply.get_output(tensor.name)
    described = None if found is None else (found.datatype, *found.shape)
    expected = (_DATATYPES[tensor.dtype], batch, *tensor.shape)
    if described != expected:
        raise ContractMismatch(graph, f"output {tensor.name!r}", expected, described)
    if region is not None:
        return region.view((batch, *tensor.shape)).copy()
    try:
        array: Array = reply.as_numpy(tensor.name)
    except ValueError as error:
        raise ContractMismatch(graph, f"output {tensor.name!r}", expected, error) from error
    return array
