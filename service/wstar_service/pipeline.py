"""The composition of graphs behind each call: arrays in, arrays out, no wire in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.edits import step_coefficients, targeted_coefficients
from wstar.errors import DependentAttributes, InvalidInput
from wstar.geometry import (
    ExplainedDistance,
    explained_distance,
    percentile,
    squared_distance,
    squared_distance_ignoring,
    squared_distance_matrix,
)
from wstar.graphs import W_DIM, Space, classifiers, flow, flow_inverse
from wstar.hyperplanes import Hyperplanes
from wstar.space import SpaceManifest
from wstar_service.faces import CodeFace, Face, PictureFace, check_finite, positions_in
from wstar_service.runner import Float32, GraphRunner

Float64 = NDArray[np.float64]
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Embedded:
    """B faces in one space.

    codes: float32 (B, n, 512), in the asked space.
    w: float32 (B, n, 512), W+; logits: float32 (B, K): both empty of faces unless asked for.
    """

    codes: Float32
    w: Float32
    logits: Float32


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances of pairs (P,) or of a matrix (A, B), float64.

    squared: without the ignored attributes; percentile and explained: of the plain distance.
    """

    squared: Float64
    percentile: Float64
    explained: ExplainedDistance | None


@dataclass(frozen=True)
class Change:
    """A wanted edit: steps or target probabilities by attribute, and attributes to hold."""

    steps: Mapping[str, float]
    target_probabilities: Mapping[str, float]
    preserve: Sequence[str]


@dataclass(frozen=True, eq=False)
class Edited:
    """One face edited with S strengths.

    images: uint8 (S, R, R, 3) RGB.
    codes, logits: float32 (S, n, 512), (S, K), in the space of the edit.
    logits_before: float32 (K,), in the space of the edit.
    squared_distance_moved: float64 (S,), in W_STAR.
    """

    images: NDArray[np.uint8]
    codes: Float32
    logits: Float32
    logits_before: Float32
    squared_distance_moved: Float64


class Pipeline:
    """Composes the graphs of one repository."""

    def __init__(self, runner: GraphRunner, manifests: Mapping[Space, SpaceManifest]) -> None:
        self._runner = runner
        self._manifests = manifests
        self._resolution = manifests[Space.W_STAR].resolution
        self._code = (manifests[Space.W_STAR].n, W_DIM)
        self._hyperplanes = {
            space: Hyperplanes(
                found.attributes, found.norms, found.biases, found.gram, found.n * W_DIM
            )
            for space, found in manifests.items()
        }

    async def embed(
        self, faces: Sequence[Face], space: Space, *, w: bool = False, logits: bool = False
    ) -> Embedded:
        """Bring faces into one space; a code that is there already passes through untouched.

        Raises
        ------
        InvalidInput: a code whose numbers overflow on the way.
        RunnerUnavailable: the engine failed, or answered a picture with NaN or infinity.
        """
        own = positions_in(faces, space)
        foreign = [i for i in range(len(faces)) if i not in set(own)]
        result = Embedded(
            np.empty((len(faces), *self._code), np.float32),
            np.empty((len(faces) if w else 0, *self._code), np.float32),
            np.empty((len(faces) if logits else 0, len(ATTRIBUTES)), np.float32),
        )
        if own:
            codes = _codes(faces, own)
            result.codes[own] = codes
            if w:
                result.w[own] = await self._inverse(space, codes)
            if logits:
                graph = classifiers(space, self._resolution).name
                result.logits[own] = (await self._runner.run(graph, w_star=codes))["logits"]
        if foreign:
            found = await self._w([faces[i] for i in foreign])
            result.codes[foreign], read = await self._flow(space, found)
            if w:
                result.w[foreign] = found
            if logits:
                result.logits[foreign] = read
        check_finite(faces, result.codes, result.w, result.logits)
        return result

    async def distance(
        self,
        a: Sequence[Face],
        b: Sequence[Face],
        space: Space,
        *,
        matrix: bool,
        ignore: Sequence[str],
        explain: bool,
    ) -> Distances:
        """Compare faces; plain distances between codes of `space` run no graph.

        Raises InvalidInput, DependentAttributes, RunnerUnavailable.
        """
        both = await self.embed([*a, *b], space, logits=bool(ignore) or explain)
        x, y = both.codes[: len(a)], both.codes[len(a) :]
        plain = squared_distance_matrix(x, y) if matrix else squared_distance(x, y)
        rank = percentile(plain, self._manifests[space].quantiles)
        left, right = both.logits[: len(a)], both.logits[len(a) :]
        difference = np.subtract(left[:, None] if matrix else left, right, dtype=np.float64)
        planes = self._hyperplanes[space]
        explained = None
        squared = plain
        if explain:
            with _dependence_in("explain"):
                explained = explained_distance(planes, plain, difference)
        if ignore:
            with _dependence_in("ignore_attributes"):
                squared = squared_distance_ignoring(planes, plain, difference, ignore)
        return Distances(squared, rank, explained)

    async def edit(
        self, face: Face, space: Space, change: Change, strengths: Sequence[float]
    ) -> Edited:
        """Change one face in `space` and render it, all strengths as one batch.

        Raises
        ------
        InvalidInput: an edited code overflows; names `edits`, or the strength if above 1.
        DependentAttributes, RunnerUnavailable.
        """
        before = await self.embed([face], space, w=True, logits=True)
        coefficients = np.outer(strengths, self._coefficients(space, change, before.logits[0]))
        _check_overflow(strengths, coefficients)
        start = np.repeat(before.codes, len(strengths), axis=0)
        w = await self._inverse(space, start, coefficients.astype(np.float32))
        codes, logits = await self._flow(space, w)
        _check_overflow(strengths, w, codes, logits)
        moved = codes, before.codes
        if space is not Space.W_STAR:
            w_star, _ = await self._flow(Space.W_STAR, np.concatenate([w, before.w]))
            moved = w_star[:-1], w_star[-1:]
            _check_overflow(strengths, moved[0])
            check_finite([face], moved[1])
        images = (await self._runner.run("generator", w=w))["image"]
        return Edited(images, codes, logits, before.logits[0], squared_distance(*moved))

    def _coefficients(self, space: Space, change: Change, logits: Float32) -> Float64:
        planes = self._hyperplanes[space]
        with _dependence_in("edits"):
            if change.target_probabilities:
                return targeted_coefficients(
                    planes, logits, change.target_probabilities, change.preserve
                )[0]
            return step_coefficients(planes, change.steps, change.preserve)

    async def _w(self, faces: Sequence[Face]) -> Float32:
        """W+ codes of faces: pictures through the encoder, codes through their space's inverse."""
        w = np.empty((len(faces), *self._code), np.float32)
        pictures = [(i, face) for i, face in enumerate(faces) if isinstance(face, PictureFace)]
        if pictures:
            images = np.stack([face.pixels for _, face in pictures])
            w[[i for i, _ in pictures]] = (await self._runner.run("encoder", image=images))["w"]
        for space in Space:
            codes = positions_in(faces, space)
            if codes:
                w[codes] = await self._inverse(space, _codes(faces, codes))
        return w

    async def _flow(self, space: Space, w: Float32) -> tuple[Float32, Float32]:
        found = await self._runner.run(flow(space, self._resolution).name, w=w)
        return found["w_star"], found["logits"]

    async def _inverse(
        self, space: Space, w_star: Float32, coefficients: Float32 | None = None
    ) -> Float32:
        if coefficients is None:
            coefficients = np.zeros((len(w_star), len(ATTRIBUTES)), np.float32)
        graph = flow_inverse(space, self._resolution).name
        return (await self._runner.run(graph, w_star=w_star, coefficients=coefficients))["w"]


def _codes(faces: Sequence[Face], positions: Sequence[int]) -> Float32:
    found = [faces[i] for i in positions]
    return np.stack([face.values for face in found if isinstance(face, CodeFace)])


@contextmanager
def _dependence_in(field: str) -> Iterator[None]:
    """Name the field of the request that asked for attributes that depend on each other."""
    try:
        yield
    except DependentAttributes as error:
        raise DependentAttributes(field, error.value, error.allowed) from error


def _check_overflow(strengths: Sequence[float], *results: Float32 | Float64) -> None:
    """Refuse results (S, ...) outside float32, naming the first strength at fault."""
    for result in results:
        for i, row in enumerate(result):
            if (np.abs(row) <= _FLOAT32_MAX).all():
                continue
            if abs(strengths[i]) <= 1.0:
                raise InvalidInput("edits", "numbers that overflow", "smaller steps")
            raise InvalidInput(
                f"strengths[{i}]", strengths[i], "-1 to 1, or as far as no code overflows float32"
            )
