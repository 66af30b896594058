"""Ways to edit compared at equal achieved change, over edits that all of them bring about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wstar_training.editing.edits import Bools, Float64
from wstar_training.editing.sweep import Effects
from wstar_training.evaluation.metrics import averages, interval, redraw

COMPARED = (
    "leakage", "flipped", "identity_reconstruction", "identity_input", "perceptual",
    "squared_distance",
)  # fmt: skip


@dataclass(frozen=True)
class Edits:
    """Edits of one way at one achieved change, C of them: some faces in each of some attributes.

    reached: bool (C,), whose edit achieves it. effects: (C,) each, meaningless where not reached.
    """

    reached: Bools
    effects: Effects


def joined(parts: Sequence[Edits]) -> Edits:
    """Edits of several attributes, one after the other."""

    def join(name: str) -> Float64 | None:
        arrays = [getattr(part.effects, name) for part in parts]
        return None if any(array is None for array in arrays) else np.concatenate(arrays)

    effects = {field.name: join(field.name) for field in fields(Effects)}
    return Edits(
        np.concatenate([part.reached for part in parts]),
        Effects(**effects),  # type: ignore[arg-type]
    )


def compared(
    ways: Mapping[str, Edits], main: Sequence[str], faces: NDArray[np.int64], count: int
) -> dict[str, Any]:
    """Means over the edits that all `main` ways reach, and differences to the first of them.

    Parameters
    ----------
    ways: the same C edits by every way. faces: (C,), the face of each, of `count` faces, which
        the 95 % intervals redraw.

    Returns
    -------
    edits, common: C, and how many of them all main ways reach.
    ways: the share that each way reaches and, of the main ones, means over the common edits.
    differences: of each way to the first main one, over the edits that these two reach.
    """
    weights = redraw(faces[:, None], count, seed=0)
    common = np.all([ways[name].reached for name in main], axis=0)
    first = ways[main[0]]
    shown: dict[str, Any] = {}
    differences: dict[str, Any] = {}
    for name, way in ways.items():
        shown[name] = {"reached": _mean(weights, way.reached.astype(np.float64))}
        if name in main:
            shown[name] |= _means(weights, way.effects, None, common)
        if name != main[0]:
            both = way.reached & first.reached
            differences[name] = {
                "edits": int(both.sum()),
                **_means(weights, way.effects, first.effects, both),
            }
    return {
        "edits": len(faces),
        "common": int(common.sum()),
        "ways": shown,
        "differences": differences,
    }


def _means(weights: Float64, effects: Effects, less: Effects | None, some: Bools) -> dict[str, Any]:
    """The mean of every effect over some edits, or of its difference to another way's."""
    found: dict[str, Any] = {}
    for name in COMPARED:
        values: Float64 | None = getattr(effects, name)
        if values is not None and less is not None:
            values = values - getattr(less, name)
        found[name] = None if values is None else _mean(weights[:, some], values[some])
    return found


def _mean(weights: Float64, values: Float64) -> dict[str, float] | None:
    """A mean with its interval; None of nothing."""
    return asdict(interval(averages(weights, values))) if len(values) else None
