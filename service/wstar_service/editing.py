"""The composition of graphs behind `Edit`: one face changed and rendered, once per strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wstar.edits import step_coefficients, targeted_coefficients
from wstar.errors import InvalidInput
from wstar.geometry import squared_distance
from wstar.graphs import Space
from wstar_service.budget import within
from wstar_service.faces import Face, PictureFace, check_finite
from wstar_service.pipeline import Embedded, Pipeline, dependence_in
from wstar_service.runner import Float32

Float64 = NDArray[np.float64]
Pixels = NDArray[np.uint8]


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
    squared_distance_moved: float64 (S,), in W_STAR; exactly 0 where nothing was changed.
    scales: float64 (S,), shares of the edits that were made, 0 to 1.
    logits_before: float32 (K,), in the space of the edit.
    w_star_before: float32 (n, 512), in W_STAR.
    """

    images: Pixels
    codes: Float32
    logits: Float32
    squared_distance_moved: Float64
    scales: Float64
    logits_before: Float32
    w_star_before: Float32


@dataclass(frozen=True, eq=False)
class Remeasured:
    """Rendered pictures read again.

    logits: float32 (S, K), in the space of the edit.
    squared_distance_moved: float64 (S,), in W_STAR, from the face before the edit.
    """

    logits: Float32
    squared_distance_moved: Float64


@dataclass(frozen=True, eq=False)
class _Trial:
    """One edited code: w and w_star float32 (n, 512), the latter and its logits in W_STAR."""

    w: Float32
    w_star: Float32
    logits: Float32
    squared_distance_moved: float


class Editing:
    """Edits faces with the graphs of one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def edit(
        self,
        face: Face,
        space: Space,
        change: Change,
        strengths: Sequence[float],
        max_squared_distance: float | None = None,
    ) -> Edited:
        """Change one face in `space` and render it, all strengths as one batch.

        max_squared_distance: how far a result may move in W_STAR; one that would move farther is
            made with a smaller share of its edit.

        Raises
        ------
        InvalidInput: an edited code overflows; names `edits`, or the strength if above 1.
        DependentAttributes, RunnerUnavailable.
        """
        before = await self._pipeline.embed([face], space, w=True, logits=True)
        start = await self._in_w_star(face, space, before)
        edits = np.outer(strengths, self._coefficients(space, change, before.logits[0]))
        with np.errstate(over="ignore"):
            _check_overflow(strengths, edits.astype(np.float32))
        moving = np.flatnonzero(edits.any(axis=1)).tolist()

        async def trials(positions: Sequence[int], shares: Sequence[float]) -> list[_Trial]:
            some = edits[[moving[i] for i in positions]] * np.array(shares)[:, None]
            return await self._trials(space, before, start, some)

        whole = await trials(range(len(moving)), [1.0] * len(moving)) if moving else []
        found: list[tuple[float, _Trial | None]] = [(1.0, trial) for trial in whole]
        if max_squared_distance is not None:
            found = await within(max_squared_distance, whole, trials)
        scales = np.ones(len(strengths))
        scales[moving] = [share for share, _ in found]
        changed = {i: trial for i, (_, trial) in zip(moving, found, strict=True) if trial}
        w = np.repeat(before.w, len(strengths), axis=0)
        codes = np.repeat(before.codes, len(strengths), axis=0)
        logits = np.repeat(before.logits, len(strengths), axis=0)
        moved = np.zeros(len(strengths))
        for i, trial in changed.items():
            w[i], moved[i] = trial.w, trial.squared_distance_moved
            codes[i], logits[i] = trial.w_star, trial.logits
        _check_overflow(strengths, w, moved)
        if changed and space is not Space.W_STAR:
            rows = list(changed)
            codes[rows], logits[rows] = await self._pipeline.flow(space, w[rows])
        _check_overflow(strengths, codes, logits)
        images = await self._pipeline.generate(w)
        return Edited(images, codes, logits, moved, scales, before.logits[0], start)

    async def remeasure(self, pixels: Pixels, space: Space, w_star_before: Float32) -> Remeasured:
        """Read rendered pictures, uint8 (S, side, side, 3), with the encoder.

        Raises RunnerUnavailable: the engine failed, or answered with NaN or infinity.
        """
        found = await self._pipeline.encode(pixels)
        w_star, logits = await self._pipeline.flow(Space.W_STAR, found)
        if space is not Space.W_STAR:
            _, logits = await self._pipeline.flow(space, found)
        faces = [PictureFace(f"results[{i}].picture", seen) for i, seen in enumerate(pixels)]
        check_finite(faces, w_star, logits)
        return Remeasured(logits, squared_distance(w_star, w_star_before))

    async def _in_w_star(self, face: Face, space: Space, before: Embedded) -> Float32:
        if space is Space.W_STAR:
            start = before.codes
        else:
            start, _ = await self._pipeline.flow(Space.W_STAR, before.w)
            check_finite([face], start)
        found: Float32 = start[0]
        return found

    async def _trials(
        self, space: Space, before: Embedded, start: Float32, edits: Float64
    ) -> list[_Trial]:
        """Edit the face with coefficients (T, K) and measure how far each edit moved it."""
        codes = np.repeat(before.codes, len(edits), axis=0)
        w = await self._pipeline.inverse(space, codes, edits.astype(np.float32))
        w_star, logits = await self._pipeline.flow(Space.W_STAR, w)
        with np.errstate(over="ignore", invalid="ignore"):  # Whoever asked for them sees to it.
            moved = squared_distance(w_star, start)
        return [_Trial(*parts) for parts in zip(w, w_star, logits, moved.tolist(), strict=True)]

    def _coefficients(self, space: Space, change: Change, logits: Float32) -> Float64:
        planes = self._pipeline.hyperplanes[space]
        with dependence_in("edits"):
            if change.target_probabilities:
                return targeted_coefficients(
                    planes, logits, change.target_probabilities, change.preserve
                )[0]
            return step_coefficients(planes, change.steps, change.preserve)


def _check_overflow(strengths: Sequence[float], *results: Float32 | Float64) -> None:
    """Refuse results (S, ...) with NaN or infinity, naming the first strength at fault."""
    for result in results:
        finite = np.isfinite(result).reshape(len(result), -1).all(axis=1)
        if finite.all():
            continue
        i = int(np.argmin(finite))
        if abs(strengths[i]) <= 1.0:
            raise InvalidInput("edits", "numbers that overflow", "smaller steps")
        raise InvalidInput(
            f"strengths[{i}]", strengths[i], "-1 to 1, or as far as no code overflows float32"
        )
