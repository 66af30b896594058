"""What the client returns: the replies of the service as small values with numpy arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wstar.codes import Code, CodeArray
from wstar.geometry import squared_distance, squared_distance_matrix
from wstar.v1 import wstar_pb2 as pb


@dataclass(frozen=True)
class Timings:
    """Time spent inside the server, in milliseconds, summed over the requests of a call.

    total_ms: from the first to the last moment.
    stage_ms: by stage: `decode`, `queue`, each graph by its name, `encode`.
    """

    total_ms: float
    stage_ms: Mapping[str, float]

    @classmethod
    def of(cls, found: Iterable[pb.Timings | Timings]) -> Timings:
        """Add up the timings of any number of replies."""
        total_ms, stage_ms = 0.0, Counter[str]()
        for timings in found:
            total_ms += timings.total_ms
            stage_ms.update(timings.stage_ms)
        return cls(total_ms, dict(stage_ms))


@dataclass(frozen=True, eq=False)
class Scores:
    """Attribute scores of one face.

    attributes: K names, in the order asked for.
    logits: float32 (K,), calibrated log-odds.
    probabilities: float32 (K,), 0 to 1.
    """

    attributes: tuple[str, ...]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]

    def __getitem__(self, attribute: str) -> float:
        """Return the probability of one attribute; KeyError if it was not asked for."""
        if attribute not in self.attributes:
            raise KeyError(attribute)
        return float(self.probabilities[self.attributes.index(attribute)])

    def __iter__(self) -> Iterator[tuple[str, float]]:
        """Yield (attribute, probability)."""
        return zip(self.attributes, self.probabilities.tolist(), strict=True)

    @classmethod
    def from_messages(cls, messages: Sequence[pb.AttributeScore]) -> Scores:
        """Gather the scores of one face."""
        return cls(
            tuple(score.attribute for score in messages),
            np.array([score.logit for score in messages], np.float32),
            np.array([score.probability for score in messages], np.float32),
        )


@dataclass(frozen=True, eq=False)
class Embedding:
    """One embedded face; `w_plus` and `scores` only if asked for."""

    code: Code
    w_plus: Code | None
    scores: Scores | None

    @classmethod
    def from_message(cls, message: pb.Embedding) -> Embedding:
        """Read one embedding of an `Embed` reply."""
        return cls(
            Code.from_message(message.code, "code"),
            Code.from_message(message.w_plus, "w_plus") if message.HasField("w_plus") else None,
            Scores.from_messages(message.scores) if message.scores else None,
        )


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Embedded faces, in the order they were sent; a sequence of `Embedding`."""

    items: tuple[Embedding, ...]
    space_id: str
    timings: Timings

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Embedding:
        return self.items[index]

    @property
    def codes(self) -> CodeArray:
        """All codes as one array (faces, n, 512), float32 or float16 as asked for."""
        return np.array([item.code.values for item in self.items])


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances of pairs, shape (pairs,), or of a matrix, shape (faces in a, faces in b).

    squared_distance: float64, mean squared difference of the codes, 0 or more.
    distance: float64, its square root.
    percentile: float64, share of reference pairs that are nearer, 0 to 100; nan if the client
        computed the distances.
    attributes: K names of `shares`, empty unless asked for.
    shares: float64 (..., K), what each attribute contributes to the squared distance.
    residual: float64, the part that no attribute explains; 0 unless asked for.
    """

    squared_distance: NDArray[np.float64]
    distance: NDArray[np.float64]
    percentile: NDArray[np.float64]
    attributes: tuple[str, ...]
    shares: NDArray[np.float64]
    residual: NDArray[np.float64]
    space_id: str
    timings: Timings

    @classmethod
    def from_message(cls, message: pb.DistanceResponse, *, matrix: bool) -> Distances:
        """Read a `Distance` reply."""
        shape = (message.rows, message.columns) if matrix else (message.rows,)
        found = message.distances
        attributes = tuple(share.attribute for share in found[0].shares) if found else ()
        shares = np.array([[share.share for share in item.shares] for item in found])

        def column(name: str) -> NDArray[np.float64]:
            return np.array([getattr(item, name) for item in found], np.float64).reshape(shape)

        return cls(
            column("squared_distance"),
            column("distance"),
            column("percentile"),
            attributes,
            shares.reshape(*shape, len(attributes)),
            column("residual"),
            message.space_id,
            Timings.of([message.timings]),
        )

    @classmethod
    def of_codes(
        cls, a: CodeArray, b: CodeArray, *, matrix: bool, space_id: str, timings: Timings
    ) -> Distances:
        """Compare codes (A, n, 512) and (B, n, 512) of one space without the server."""
        squared = (squared_distance_matrix if matrix else squared_distance)(a, b)
        return cls(
            squared,
            np.sqrt(squared),
            np.full(squared.shape, np.nan),
            (),
            np.zeros((*squared.shape, 0)),
            np.zeros(squared.shape),
            space_id,
            timings,
        )


@dataclass(frozen=True, eq=False)
class Classifications:
    """Scores of each face, in the order they were sent; a sequence of `Scores`."""

    scores: tuple[Scores, ...]
    space_id: str
    timings: Timings

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: int) -> Scores:
        return self.scores[index]


@dataclass(frozen=True, eq=False)
class Remeasured:
    """What the encoder sees in a rendered picture.

    scores: all attributes, in the space of the edit.
    squared_distance_moved: in W_STAR, from the face before the edit to the rendered picture.
    """

    scores: Scores
    squared_distance_moved: float


@dataclass(frozen=True, eq=False)
class EditResult:
    """One rendered edit.

    strength: multiple of the whole edit.
    picture: an encoded picture, in the format asked for.
    code: the edited code, float32, in the space of the edit.
    scores: all attributes of the edited code, in the space of the edit.
    squared_distance_moved: in W_STAR, from the face to the edited face.
    scale: share of strength times edit that was made, 0 to 1; below 1 only where
        `max_squared_distance` did not allow all of it.
    remeasured: the picture read again, only if asked for.
    """

    strength: float
    picture: bytes
    code: Code
    scores: Scores
    squared_distance_moved: float
    scale: float
    remeasured: Remeasured | None

    @classmethod
    def from_message(cls, message: pb.EditResult) -> EditResult:
        """Read one result of an `Edit` reply."""
        again = message.remeasured
        return cls(
            message.strength,
            message.picture,
            Code.from_message(message.code, "code"),
            Scores.from_messages(message.scores),
            message.squared_distance_moved,
            message.scale,
            Remeasured(Scores.from_messages(again.scores), again.squared_distance_moved)
            if message.HasField("remeasured")
            else None,
        )


@dataclass(frozen=True, eq=False)
class Edit:
    """An edited face: one result per strength, and the scores of the face before."""

    results: tuple[EditResult, ...]
    scores_before: Scores
    space_id: str
    timings: Timings

    @classmethod
    def from_message(cls, message: pb.EditResponse) -> Edit:
        """Read an `Edit` reply."""
        return cls(
            tuple(map(EditResult.from_message, message.results)),
            Scores.from_messages(message.scores_before),
            message.space_id,
            Timings.of([message.timings]),
        )
