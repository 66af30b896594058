"""Between messages and arrays, with every check that needs no picture and no graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wstar.codes import space_of_number
from wstar.errors import InvalidInput, SpaceMismatch
from wstar.geometry import ExplainedDistance, sigmoid
from wstar.graphs import W_DIM, Space
from wstar.images import Format
from wstar.space import SpaceManifest
from wstar.v1 import wstar_pb2 as pb
from wstar_service.editing import Change
from wstar_service.faces import CodeFace
from wstar_service.pipeline import Distances, Embedded
from wstar_service.runner import Float32

# Far beyond any face, and their product is far from the end of float32.
MAX_STEP = MAX_STRENGTH = 1e6
MAX_ID_BYTES = 128

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
_DTYPES: Mapping[int, np.dtype[Any]] = {
    pb.DTYPE_UNSPECIFIED: np.dtype("<f4"),
    pb.DTYPE_F32: np.dtype("<f4"),
    pb.DTYPE_F16: np.dtype("<f2"),
}
_NUMBERS: Mapping[Space, pb.Space] = {
    Space.W_STAR: pb.SPACE_W_STAR,
    Space.W_STAR_ID: pb.SPACE_W_STAR_ID,
    Space.W_PLUS: pb.SPACE_W_PLUS,
}
_SPACES: Mapping[int, Space] = {number: space for space, number in _NUMBERS.items()}
_LARGEST_HALF = float(np.finfo(np.float16).max)

Named = Sequence[tuple[str, pb.Face]]


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
    if number not in _DTYPES:
        raise InvalidInput("dtype", number, ", ".join(pb.Dtype.keys()))
    return _DTYPES[number].itemsize == 2


def read_id(name: str) -> str:
    """Return the caller's name of a face of a stream; InvalidInput unless 1 to 128 bytes."""
    size = len(name.encode())
    if not 1 <= size <= MAX_ID_BYTES:
        raise InvalidInput("id", f"{size} bytes", f"1 to {MAX_ID_BYTES} bytes")
    return name


def are_codes(faces: Sequence[pb.Face], space: Space) -> bool:
    """Tell whether all faces are codes that say to be of `space`."""
    number = _NUMBERS[space]
    return all(face.WhichOneof("source") == "code" and face.code.space == number for face in faces)


def read_faces(
    faces: Named, manifests: Mapping[Space, SpaceManifest], *, half: bool = True
) -> list[CodeFace | None]:
    """Read the codes among faces, each with its path; None for a picture.

    half: whether half precision is allowed.

    Raises InvalidInput (also: a face that is neither), SpaceMismatch.
    """
    found: list[CodeFace | None] = []
    for field, face in faces:
        kind = face.WhichOneof("source")
        if kind is None:
            raise InvalidInput(field, "nothing", "a picture or a code")
        code = kind == "code"
        found.append(_read_code(face.code, field, manifests, half=half) if code else None)
    return found


def _read_code(
    message: pb.Code, field: str, manifests: Mapping[Space, SpaceManifest], *, half: bool
) -> CodeFace:
    """Read the code of the face at path `field`, without a copy unless it is of half precision.

    As `wstar.codes.Code.from_message`, in a fifth of the time.
    """
    path = f"{field}.code"
    dtype = _DTYPES.get(message.dtype)
    if dtype is None:
        raise InvalidInput(f"{path}.dtype", message.dtype, "DTYPE_F32 or DTYPE_F16")
    if dtype.itemsize == 2 and not half:
        raise InvalidInput(f"{path}.dtype", "DTYPE_F16", "DTYPE_F32, for an edit")
    space = _SPACES.get(message.space) or space_of_number(message.space, f"{path}.space")
    served = manifests[space]
    if message.space_id != served.space_id:
        raise SpaceMismatch(f"{path}.space_id", message.space_id, served.space_id)
    data, expected = message.data, served.n * W_DIM * dtype.itemsize
    if len(data) != expected:
        raise InvalidInput(f"{path}.data", f"{len(data)} bytes", f"{expected} bytes")
    values = np.frombuffer(data, dtype).reshape(served.n, W_DIM)
    if not np.isfinite(values).all():
        raise InvalidInput(f"{path}.data", "NaN or infinity", "finite numbers")
    return CodeFace(field, space, values.astype(np.float32, copy=False))


def write_code(
    code: pb.Code, values: Float32, manifest: SpaceManifest, *, half: bool = False
) -> None:
    """Fill in a finite code (n, 512); InvalidInput if it does not fit into half precision."""
    dtype = pb.DTYPE_F16 if half else pb.DTYPE_F32
    if half and np.abs(values).max() > _LARGEST_HALF:
        raise InvalidInput("dtype", "DTYPE_F16", "DTYPE_F32: a code holds numbers above 65504")
    code.space = _NUMBERS[manifest.space]
    code.space_id = manifest.space_id
    code.dtype = dtype
    code.data = values.astype(_DTYPES[dtype], copy=False).tobytes()


def write_embedding(
    embedding: pb.Embedding,
    found: Embedded,
    i: int,
    manifests: tuple[SpaceManifest, SpaceManifest],
    *,
    half: bool,
) -> None:
    """Fill in face `i` of what was found; `manifests` are those of its space and of W+."""
    manifest, plus = manifests
    write_code(embedding.code, found.codes[i], manifest, half=half)
    if len(found.w):
        write_code(embedding.w_plus, found.w[i], plus, half=half)
    if len(found.logits):
        embedding.scores.extend(write_scores(found.logits[i], manifest.attributes))


def read_names(
    names: Sequence[str], field: str, attributes: Sequence[str], *, most: int | None = None
) -> list[int]:
    """Return the positions of attribute names, in order, each once.

    Raises InvalidInput: an unknown name, with its path, or more than `most` (default: all).
    """
    # Before they are read: a message holds millions, which would keep every other call waiting.
    if len(names) > len(attributes):
        raise InvalidInput(field, f"{len(names)} names", f"at most {len(attributes)}")
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


def read_budget(request: pb.EditRequest) -> float | None:
    """Return the largest squared distance an edit may move, None for no bound; InvalidInput."""
    if not request.HasField("max_squared_distance"):
        return None
    budget = request.max_squared_distance
    if not 0.0 < budget < math.inf:
        raise InvalidInput("max_squared_distance", budget, "a finite number above 0")
    return budget


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
    # Names are copied with it in one go, in half the time of adding share by share.
    named = pb.FaceDistance(shares=[pb.AttributeShare(attribute=name) for name in attributes])
    for distance, row, residual in zip(reply.distances, shares, residuals, strict=True):
        distance.MergeFrom(named)
        distance.residual = residual
        for share, value in zip(distance.shares, row, strict=True):
            share.share = value
