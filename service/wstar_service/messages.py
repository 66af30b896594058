"""Between messages and arrays, with every check that needs no picture and no graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from wstar.codes import Code, space_of_number
from wstar.errors import InvalidInput, SpaceMismatch
from wstar.geometry import ExplainedDistance, sigmoid
from wstar.graphs import Space
from wstar.images import Format
from wstar.space import SpaceManifest
from wstar.v1 import wstar_pb2 as pb
from wstar_service.faces import CodeFace
from wstar_service.pipeline import Change, Distances
from wstar_service.runner import Float32

# Far beyond any face, and their product is far from the end of float32.
MAX_STEP = MAX_STRENGTH = 1e6

_FORMATS: Mapping[int, Format] = {
    pb.IMAGE_FORMAT_UNSPECIFIED: "PNG",
    pb.IMAGE_FORMAT_PNG: "PNG",
    pb.IMAGE_FORMAT_JPEG: "JPEG",
    pb.IMAGE_FORMAT_WEBP: "WEBP",
}
_MATRIX: Mapping[int, bool] = {
    pb.DISTANCE_MODE_UNSPECIFIED: False,
    pb.DISTANCE_MODE_PAIRS: False,
    pb.DISTANCE_MODE_MATRIX: True,
}
_HALF: Mapping[int, bool] = {
    pb.DTYPE_UNSPECIFIED: False,
    pb.DTYPE_F32: False,
    pb.DTYPE_F16: True,
}


def read_space(number: int, default: Space) -> Space:
    """Return the space a request asks for; InvalidInput for an unknown number."""
    if number == pb.SPACE_UNSPECIFIED:
        return default
    return space_of_number(number, "space")


def read_format(number: int) -> Format:
    """Return the file type a request asks for; InvalidInput for an unknown number."""
    if number not in _FORMATS:
        raise InvalidInput("format", number, ", ".join(pb.ImageFormat.keys()))
    return _FORMATS[number]


def read_matrix(number: int) -> bool:
    """Tell whether distances are asked for as a matrix; InvalidInput for an unknown number."""
    if number not in _MATRIX:
        raise InvalidInput("mode", number, ", ".join(pb.DistanceMode.keys()))
    return _MATRIX[number]


def read_half(number: int) -> bool:
    """Tell whether codes are asked for in half precision; InvalidInput for an unknown number."""
    if number not in _HALF:
        raise InvalidInput("dtype", number, ", ".join(pb.DType.keys()))
    return _HALF[number]


def read_code(
    message: pb.Code, field: str, manifests: Mapping[Space, SpaceManifest], *, half: bool = True
) -> CodeFace:
    """Unpack the code of the face at path `field`; half precision only where `half` allows it.

    Raises InvalidInput, SpaceMismatch.
    """
    path = f"{field}.code"
    if message.dtype == pb.DTYPE_F16 and not half:
        raise InvalidInput(f"{path}.dtype", "DTYPE_F16", "DTYPE_F32, for an edit")
    served = manifests[space_of_number(message.space, f"{path}.space")]
    if message.space_id != served.space_id:
        raise SpaceMismatch(f"{path}.space_id", message.space_id, served.space_id)
    code = Code.from_message(message, path, served.n)
    return CodeFace(field, code.space, code.values.astype(np.float32))


def write_code(values: Float32, manifest: SpaceManifest, *, half: bool = False) -> pb.Code:
    """Pack a finite code (n, 512); InvalidInput if it does not fit into half precision."""
    if not half:
        return Code(values, manifest.space, manifest.space_id).to_message()
    if np.abs(values).max() > np.finfo(np.float16).max:
        raise InvalidInput("dtype", "DTYPE_F16", "DTYPE_F32: a code holds numbers above 65504")
    return Code(values.astype(np.float16), manifest.space, manifest.space_id).to_message()


def read_names(
    names: Sequence[str], field: str, attributes: Sequence[str], *, most: int | None = None
) -> list[int]:
    """Return the positions of attribute names, in order, each once.

    Raises InvalidInput: an unknown name, with its path, or more than `most`.
    """
    for i, name in enumerate(names):
        if name not in attributes:
            raise InvalidInput(f"{field}[{i}]", name, "a name of GetInfoResponse.attributes")
    positions = [attributes.index(name) for name in dict.fromkeys(names)]
    if most is not None and len(positions) > most:
        raise InvalidInput(field, f"{len(positions)} attributes", f"at most {most}")
    return positions


def read_change(request: pb.EditRequest, manifest: SpaceManifest) -> Change:
    """Read the wanted edit: all steps or all targets, each attribute once, none preserved.

    Raises InvalidInput with the path of the field at fault.
    """
    amounts: dict[str, dict[str, float]] = {"step": {}, "target_probability": {}}
    first = request.edits[0].WhichOneof("amount") if request.edits else None
    for i, edit in enumerate(request.edits):
        path, name, kind = f"edits[{i}]", edit.attribute, edit.WhichOneof("amount")
        if name not in manifest.attributes:
            raise InvalidInput(f"{path}.attribute", name, "a name of GetInfoResponse.attributes")
        if manifest.norms[manifest.attributes.index(name)] == 0:
            raise InvalidInput(f"{path}.attribute", name, "an attribute this space can tell")
        if kind is None:
            raise InvalidInput(path, "no amount", "step or target_probability")
        if kind != first:
            raise InvalidInput(f"{path}.{kind}", getattr(edit, kind), f"{first}, as in edits[0]")
        if name in amounts[kind]:
            raise InvalidInput(f"{path}.attribute", name, "each attribute once")
        value = getattr(edit, kind)
        if kind == "target_probability" and not 0.0 <= value <= 1.0:
            raise InvalidInput(f"{path}.{kind}", value, "0 to 1")
        if kind == "step" and not abs(value) <= MAX_STEP:
            raise InvalidInput(f"{path}.{kind}", value, f"{-MAX_STEP:g} to {MAX_STEP:g}")
        amounts[kind][name] = value
    read_names(request.preserve, "preserve", manifest.attributes)
    for i, name in enumerate(request.preserve):
        if any(name in chosen for chosen in amounts.values()):
            raise InvalidInput(f"preserve[{i}]", name, "an attribute that is not edited")
    return Change(amounts["step"], amounts["target_probability"], tuple(request.preserve))


def read_strengths(strengths: Sequence[float]) -> list[float]:
    """Return the strengths of a film strip, [1] for none; InvalidInput if one is out of bounds."""
    for i, strength in enumerate(strengths):
        if not abs(strength) <= MAX_STRENGTH:
            allowed = f"{-MAX_STRENGTH:g} to {MAX_STRENGTH:g}"
            raise InvalidInput(f"strengths[{i}]", strength, allowed)
    return list(strengths) or [1.0]


def write_scores(
    logits: Float32, attributes: Sequence[str], positions: Sequence[int] | None = None
) -> list[pb.AttributeScore]:
    """Pack the logits (K,) of one face, all or those at `positions`, with probabilities."""
    # Python floats: reading numpy's one by one takes longer than the read-out itself.
    values, probabilities = logits.tolist(), sigmoid(logits).tolist()
    return [
        pb.AttributeScore(attribute=attributes[k], logit=values[k], probability=probabilities[k])
        for k in (range(len(attributes)) if positions is None else positions)
    ]


def write_distances(found: Distances, attributes: Sequence[str]) -> pb.DistanceResponse:
    """Pack distances of pairs (P,) or of a matrix (A, B), row after row."""
    shape = found.squared.shape
    reply = pb.DistanceResponse(rows=shape[0], columns=shape[1] if len(shape) == 2 else 1)
    squared, ranks = found.squared.ravel(), found.percentile.ravel()
    columns = (squared.tolist(), np.sqrt(squared).tolist(), ranks.tolist())
    for value, root, rank in zip(*columns, strict=True):
        reply.distances.add(squared_distance=value, distance=root, percentile=rank)
    if found.explained is not None:
        _write_shares(reply, found.explained, attributes)
    return reply


def _write_shares(
    reply: pb.DistanceResponse, explained: ExplainedDistance, attributes: Sequence[str]
) -> None:
    shares = explained.shares.reshape(-1, len(attributes)).tolist()
    residuals = explained.residual.ravel().tolist()
    for distance, row, residual in zip(reply.distances, shares, residuals, strict=True):
        distance.residual = residual
        for attribute, share in zip(attributes, row, strict=True):
            distance.shares.add(attribute=attribute, share=share)
