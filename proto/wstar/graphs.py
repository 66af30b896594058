"""The graphs of wstar: names, shapes and types, written once and read by every folder.

The ONNX exporter takes names and axes from here, TensorRT its optimisation profiles,
`config.pbtxt` its text, and the service compares a live repository with it at start.
The batch axis comes first everywhere and is not part of `TensorSpec.shape`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from wstar.attributes import ATTRIBUTES
from wstar.errors import InvalidInput

CONTRACT_VERSION = 1
W_DIM = 512
MIN_RESOLUTION = 8
MAX_RESOLUTION = 1024

DType = Literal["uint8", "float32"]


class Space(Enum):
    """The three served latent spaces; the value is the name on the wire and in manifests."""

    W_STAR = "W_STAR"
    W_STAR_ID = "W_STAR_ID"
    W_PLUS = "W_PLUS"

    @property
    def suffix(self) -> str:
        """What the names of this space's graphs end with."""
        return {"W_STAR": "", "W_STAR_ID": "_id", "W_PLUS": "_plus"}[self.value]


@dataclass(frozen=True)
class TensorSpec:
    """One named input or output; `shape` leaves the batch axis out."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GraphSpec:
    """One graph: its tensors and the largest batch one call may hold."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch: int


def n_latent(resolution: int) -> int:
    """Number of rows n of a W+ code: 2 log2(resolution) - 2 (18 at 1024, 10 at 64).

    Raises
    ------
    InvalidInput: the resolution is no power of two in [8, 1024].
    """
    exponent = math.log2(resolution) if resolution > 0 else 0.0
    if not exponent.is_integer() or not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        raise InvalidInput(
            "resolution", resolution, f"a power of two, {MIN_RESOLUTION} to {MAX_RESOLUTION} px"
        )
    return 2 * int(exponent) - 2


def encoder(resolution: int, encoder_side: int) -> GraphSpec:
    """E: an aligned picture of `encoder_side` px to its absolute W+ code (mean code added)."""
    return GraphSpec(
        "encoder",
        (TensorSpec("image", "uint8", (encoder_side, encoder_side, 3)),),
        (TensorSpec("w", "float32", (n_latent(resolution), W_DIM)),),
        max_batch=16,
    )


def generator(resolution: int) -> GraphSpec:
    """G: a W+ code to an RGB picture."""
    return GraphSpec(
        "generator",
        (TensorSpec("w", "float32", (n_latent(resolution), W_DIM)),),
        (TensorSpec("image", "uint8", (resolution, resolution, 3)),),
        max_batch=8,
    )


def flow(space: Space, resolution: int) -> GraphSpec:
    """T: W+ to this space, with the calibrated attribute logits read off the result."""
    code = (n_latent(resolution), W_DIM)
    return GraphSpec(
        f"flow{space.suffix}",
        (TensorSpec("w", "float32", code),),
        (
            TensorSpec("w_star", "float32", code),
            TensorSpec("logits", "float32", (len(ATTRIBUTES),)),
        ),
        max_batch=64,
    )


def flow_name(space: Space) -> str:
    """Name the flow of a space: it does not depend on the resolution, which a manifest tells."""
    return flow(space, 8).name


def flow_inverse(space: Space, resolution: int) -> GraphSpec:
    """T⁻¹ with an edit in front of it: w = T⁻¹(w_star + Σ coefficients_k n_k)."""
    code = (n_latent(resolution), W_DIM)
    return GraphSpec(
        f"flow{space.suffix}_inverse",
        (
            TensorSpec("w_star", "float32", code),
            TensorSpec("coefficients", "float32", (len(ATTRIBUTES),)),
        ),
        (TensorSpec("w", "float32", code),),
        max_batch=64,
    )


def classifiers(space: Space, resolution: int) -> GraphSpec:
    """The read-out of `flow` alone, for codes that arrive without a picture."""
    return GraphSpec(
        f"classifiers{space.suffix}",
        (TensorSpec("w_star", "float32", (n_latent(resolution), W_DIM)),),
        (TensorSpec("logits", "float32", (len(ATTRIBUTES),)),),
        max_batch=64,
    )


def graphs(resolution: int, encoder_side: int) -> tuple[GraphSpec, ...]:
    """Every graph of a repository, in the order of a request's path through them."""
    per_space = [
        graph(space, resolution) for space in Space for graph in (flow, flow_inverse, classifiers)
    ]
    return (encoder(resolution, encoder_side), *per_space, generator(resolution))
