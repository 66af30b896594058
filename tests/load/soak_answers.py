"""What a reply says, apart from times: numbers to compare within bounds, and facts to be equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wstar.images import decode
from wstar.v1 import wstar_pb2 as pb

Numbers = NDArray[np.float64]

# How far an answer under load may be from the same answer computed alone, one face per run.
# Other batch sizes sum in another order: some units in the last of float32's 7 digits, which T
# and the read-out carry on (`wstar_service.batcher.SAME_OF_STD`). Triton runs the same ONNX
# Runtime with its own batches, so its bounds are the same.
_OF_STD = 1e-5
BOUNDS: Mapping[str, float] = {
    "code, of its std": _OF_STD,
    # Half precision rounds: a number at the edge goes to its neighbour, 2^-10 of itself away.
    "f16 code, of its largest": 2.0**-10,
    "logit, of their std": _OF_STD,
    "probability": _OF_STD,
    "distance, relative": _OF_STD,
    "percentile": 1e-3,
    # Shares go through the inverse of the Gram matrix, which enlarges differences of logits.
    "share, of the distance": 1e-3,
    "scale, relative": 1e-5,
    # Bytes are cut from floats: a value at the edge of a level falls to either side.
    "picture, levels": 1.0,
    # One level before the transform moves a coefficient by at most one step of quality 95.
    "JPEG, levels": 8.0,
    # What the encoder makes of pictures that differ by such levels.
    "remeasured, of their std": 1e-2,
}


@dataclass
class Facts:
    """One reply: what must be equal, and arrays (rows, numbers) by name and kind of bound."""

    exact: object
    numbers: dict[tuple[str, str], NDArray[Any]] = field(default_factory=dict)


@dataclass
class Deviations:
    """The largest deviation seen, by kind of bound."""

    largest: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def wrong(self, found: Facts, reference: Facts) -> str | None:
        """Compare an answer with its reference; say what is wrong, None for nothing."""
        if found.exact != reference.exact:
            return f"found {str(found.exact)[:200]!r}, expected {str(reference.exact)[:200]!r}"
        if found.numbers.keys() != reference.numbers.keys():
            return f"found {sorted(found.numbers)}, expected {sorted(reference.numbers)}"
        for (name, kind), expected in reference.numbers.items():
            values = found.numbers[name, kind]
            if values.shape != expected.shape:
                return f"{name}: {values.shape} numbers, expected {expected.shape}"
            if values.size == 0 or np.array_equal(values, expected):
                self.largest[kind] = max(self.largest[kind], 0.0)
                continue
            deviation = _deviation(kind, values, expected)
            self.largest[kind] = max(self.largest[kind], deviation)
            if not deviation <= BOUNDS[kind]:
                return f"{name}: {kind} {deviation:.3g}, allowed {BOUNDS[kind]:.3g}"
        return None


def _deviation(kind: str, values: NDArray[Any], expected: NDArray[Any]) -> float:
    difference = np.abs(np.subtract(values, expected, dtype=np.float64))
    if "std" in kind:
        difference = difference / np.std(expected, axis=1, keepdims=True, dtype=np.float64)
    elif kind == "f16 code, of its largest":
        difference = difference / np.maximum(np.abs(expected), 2.0**-14)
    elif kind.endswith(("relative", "of the distance")):
        scale = np.abs(expected).max(axis=1, keepdims=True)
        difference = difference / np.where(scale > 0, scale, 1.0)
    return float(difference.max())


def facts(reply: Any) -> Facts:  # noqa: ANN401
    """Return what a reply, or the list of replies of a stream, says."""
    if isinstance(reply, list):
        return _stream(reply)
    if isinstance(reply, pb.EmbedResponse):
        return _embeddings(reply.embeddings, reply.space_id)
    if isinstance(reply, pb.ClassifyResponse):
        found = Facts(reply.space_id)
        _add_scores(found, "scores", [item.scores for item in reply.classifications])
        return found
    if isinstance(reply, pb.DistanceResponse):
        return _distances(reply)
    if isinstance(reply, pb.EditResponse):
        return _edit(reply)
    info = pb.GetInfoResponse()
    info.CopyFrom(reply)
    # The answers to compare with come from this process, whatever engine is asked.
    info.ClearField("runner")
    return Facts(str(info))


def _stream(replies: Sequence[pb.EmbedStreamResponse]) -> Facts:
    replies = sorted(replies, key=lambda reply: reply.id)
    good = [reply for reply in replies if reply.WhichOneof("outcome") == "embedding"]
    bad = [
        (reply.id, reply.error.code, reply.error.reason, reply.error.field)
        for reply in replies
        if reply.WhichOneof("outcome") != "embedding"
    ]
    found = _embeddings([reply.embedding for reply in good], "")
    found.exact = (found.exact, [(reply.id, reply.space_id) for reply in good], bad)
    return found


def _embeddings(embeddings: Sequence[pb.Embedding], space_id: str) -> Facts:
    found = Facts((space_id, [item.HasField("w_plus") for item in embeddings]))
    _add_codes(found, "code", [item.code for item in embeddings])
    _add_codes(found, "w_plus", [item.w_plus for item in embeddings if item.HasField("w_plus")])
    _add_scores(found, "scores", [item.scores for item in embeddings])
    return found


def _distances(reply: pb.DistanceResponse) -> Facts:
    items = reply.distances
    names = [[share.attribute for share in item.shares] for item in items[:1]]
    found = Facts((reply.rows, reply.columns, reply.space_id, names))
    relative = "distance, relative"
    found.numbers["squared_distance", relative] = _column(i.squared_distance for i in items)
    found.numbers["distance", relative] = _column(i.distance for i in items)
    found.numbers["percentile", "percentile"] = _column(i.percentile for i in items)
    if items and items[0].shares:
        # With its residual, so that a row's largest number is of the size of the distance.
        rows = [[*(s.share for s in i.shares), i.residual, i.squared_distance] for i in items]
        found.numbers["shares", "share, of the distance"] = np.array(rows)
    return found


def _edit(reply: pb.EditResponse) -> Facts:
    results = reply.results
    found = Facts((reply.space_id, [(r.strength, r.HasField("remeasured")) for r in results]))
    pictures = [result.picture for result in results]
    jpeg = pictures[0].startswith(b"\xff\xd8")
    pixels = [decode(data, max_bytes=2**24, max_pixels=2**22).ravel() for data in pictures]
    found.numbers["picture", "JPEG, levels" if jpeg else "picture, levels"] = np.stack(pixels)
    _add_codes(found, "code", [result.code for result in results])
    _add_scores(found, "scores", [result.scores for result in results])
    _add_scores(found, "scores_before", [reply.scores_before])
    found.numbers["moved", "distance, relative"] = _column(
        r.squared_distance_moved for r in results
    )
    found.numbers["scale", "scale, relative"] = _column(r.scale for r in results)
    if results[0].HasField("remeasured"):
        rows = [[s.logit for s in result.remeasured.scores] for result in results]
        found.numbers["remeasured", "remeasured, of their std"] = np.array(rows)
    return found


def _add_codes(found: Facts, name: str, codes: Sequence[pb.Code]) -> None:
    found.exact = (found.exact, {(code.space, code.space_id, code.dtype) for code in codes})
    for dtype, kind, number in (
        ("<f4", "code, of its std", pb.DTYPE_F32),
        ("<f2", "f16 code, of its largest", pb.DTYPE_F16),
    ):
        rows = [np.frombuffer(code.data, dtype) for code in codes if code.dtype == number]
        if rows:
            found.numbers[name, kind] = np.stack(rows)


def _add_scores(found: Facts, name: str, faces: Sequence[Sequence[pb.AttributeScore]]) -> None:
    found.exact = (found.exact, [[score.attribute for score in scores] for scores in faces])
    faces = [scores for scores in faces if scores]
    if not faces:
        return
    # The bound is one of all logits of a face; of a single one there is no spread to speak of.
    kind = "logit, of their std" if len(faces[0]) > 1 else "probability"
    found.numbers[f"{name}: logit", kind] = np.array([[s.logit for s in row] for row in faces])
    rows = [[score.probability for score in scores] for scores in faces]
    found.numbers[f"{name}: probability", "probability"] = np.array(rows)


def _column(values: Iterable[float]) -> Numbers:
    return np.fromiter(values, np.float64).reshape(-1, 1)
