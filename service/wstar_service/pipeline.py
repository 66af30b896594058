"""The composition of graphs behind the calls: arrays in, arrays out, no wire in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.errors import DependentAttributes
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
from wstar_service.aside import aside
from wstar_service.faces import CodeFace, Face, PictureFace, check_finite, positions_in
from wstar_service.runner import Float32, GraphRunner

Float64 = NDArray[np.float64]

# Measured with codes of 18 rows: copying a code, taking it through float64, and one distance.
_STACK_US, _COMPARE_US, _DISTANCE_US = 4.0, 20.0, 3.0
_NO_LOGITS = np.empty((0, len(ATTRIBUTES)), np.float32)


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


class Pipeline:
    """Composes the graphs of one repository."""

    def __init__(self, runner: GraphRunner, manifests: Mapping[Space, SpaceManifest]) -> None:
        self._runner = runner
        self._manifests = manifests
        self._resolution = manifests[Space.W_STAR].resolution
        self._code = (manifests[Space.W_STAR].n, W_DIM)
        self.hyperplanes = {
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
        foreign = sorted(set(range(len(faces))).difference(own))
        parts = []
        if own:
            found = await self._passed([faces[i] for i in own], space, w=w, logits=logits)
            parts.append((own, found))
        if foreign:
            found = await self._carried([faces[i] for i in foreign], space, w=w, logits=logits)
            parts.append((foreign, found))
        return parts[0][1] if len(parts) == 1 else _merged(len(faces), parts)

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
        count = len(a) * len(b) if matrix else len(a)
        expected_us = _COMPARE_US * (len(a) + len(b)) + _DISTANCE_US * count
        return await aside(
            expected_us, self._compared, both, len(a), space, matrix, tuple(ignore), explain
        )

    def _compared(
        self,
        both: Embedded,
        rows: int,
        space: Space,
        matrix: bool,
        ignore: Sequence[str],
        explain: bool,
    ) -> Distances:
        """Compare the first `rows` of embedded faces with the rest."""
        x, y = both.codes[:rows], both.codes[rows:]
        plain = squared_distance_matrix(x, y) if matrix else squared_distance(x, y)
        rank = percentile(plain, self._manifests[space].quantiles)
        planes = self.hyperplanes[space]
        squared, explained = plain, None
        if explain or ignore:
            left, right = both.logits[:rows], both.logits[rows:]
            difference = np.subtract(left[:, None] if matrix else left, right, dtype=np.float64)
        if explain:
            with dependence_in("explain"):
                explained = explained_distance(planes, plain, difference)
        if ignore:
            with dependence_in("ignore_attributes"):
                squared = squared_distance_ignoring(planes, plain, difference, ignore)
        return Distances(squared, rank, explained)

    async def encode(self, pixels: NDArray[np.uint8]) -> Float32:
        """Aligned pictures uint8 (B, S, S, 3) to W+ codes (B, n, 512)."""
        w: Float32 = (await self._runner.run("encoder", image=pixels))["w"]
        return w

    async def generate(self, w: Float32) -> NDArray[np.uint8]:
        """W+ codes (B, n, 512) to pictures uint8 (B, R, R, 3)."""
        images: NDArray[np.uint8] = (await self._runner.run("generator", w=w))["image"]
        return images

    async def flow(self, space: Space, w: Float32) -> tuple[Float32, Float32]:
        """W+ codes (B, n, 512) to codes of a space and their logits (B, K)."""
        found = await self._runner.run(flow(space, self._resolution).name, w=w)
        return found["w_star"], found["logits"]

    async def inverse(
        self, space: Space, w_star: Float32, coefficients: Float32 | None = None
    ) -> Float32:
        """Codes of a space (B, n, 512), edited by coefficients (B, K), to W+ codes."""
        if coefficients is None:
            coefficients = np.zeros((len(w_star), len(ATTRIBUTES)), np.float32)
        graph = flow_inverse(space, self._resolution).name
        found = await self._runner.run(graph, w_star=w_star, coefficients=coefficients)
        return found["w"]

    async def _passed(
        self, faces: Sequence[Face], space: Space, *, w: bool, logits: bool
    ) -> Embedded:
        """Codes of `space`, untouched; graphs run only for what else is asked for."""
        codes = await aside(_STACK_US * len(faces), _codes, faces)
        found = Embedded(
            codes,
            await self.inverse(space, codes) if w else codes[:0],
            await self._classified(space, codes) if logits else _NO_LOGITS,
        )
        check_finite(faces, found.w, found.logits)
        return found

    async def _classified(self, space: Space, codes: Float32) -> Float32:
        graph = classifiers(space, self._resolution).name
        found = await self._runner.run(graph, w_star=codes)
        return found["logits"]

    async def _carried(
        self, faces: Sequence[Face], space: Space, *, w: bool, logits: bool
    ) -> Embedded:
        """Pictures, and codes of other spaces, through W+."""
        pixels = [face.pixels for face in faces if isinstance(face, PictureFace)]
        onward = flow(space, self._resolution).name
        if len(pixels) == len(faces):
            read = await self._runner.run("encoder", onward, image=np.stack(pixels))
        else:
            plus = await self._w(faces)
            read = {"w": plus} | await self._runner.run(onward, w=plus)
        found = Embedded(
            read["w_star"],
            read["w"] if w else read["w"][:0],
            read["logits"] if logits else read["logits"][:0],
        )
        check_finite(faces, found.codes, found.w, found.logits)
        return found

    async def _w(self, faces: Sequence[Face]) -> Float32:
        """W+ codes of faces: pictures through the encoder, codes through their space's inverse."""
        w = np.empty((len(faces), *self._code), np.float32)
        pictures = [(i, face) for i, face in enumerate(faces) if isinstance(face, PictureFace)]
        if pictures:
            pixels = np.stack([face.pixels for _, face in pictures])
            w[[i for i, _ in pictures]] = await self.encode(pixels)
        for space in Space:
            codes = positions_in(faces, space)
            if codes:
                w[codes] = await self.inverse(space, _codes([faces[i] for i in codes]))
        return w


def _codes(faces: Sequence[Face]) -> Float32:
    return np.stack([face.values for face in faces if isinstance(face, CodeFace)])


def _merged(count: int, parts: Sequence[tuple[list[int], Embedded]]) -> Embedded:
    """Put the faces of several parts, each with its positions, in order."""

    def joined(arrays: Sequence[Float32]) -> Float32:
        if len(arrays[0]) == 0:  # Not asked for.
            return arrays[0]
        result = np.empty((count, *arrays[0].shape[1:]), np.float32)
        for (positions, _), array in zip(parts, arrays, strict=True):
            result[positions] = array
        return result

    found = [part for _, part in parts]
    return Embedded(
        joined([part.codes for part in found]),
        joined([part.w for part in found]),
        joined([part.logits for part in found]),
    )


@contextmanager
def dependence_in(field: str) -> Iterator[None]:
    """Name the field of the request that asked for attributes that depend on each other."""
    try:
        yield
    except DependentAttributes as error:
        raise DependentAttributes(field, error.value, error.allowed) from error
