"""Edits at equal achieved change: per face, where on its way the referee sees what was wanted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wstar.geometry import sigmoid
from wstar_training.editing.comparison import Edits
from wstar_training.editing.edits import Float64
from wstar_training.editing.sweep import Sitting, Sweep, effects


def at_change(sitting: Sitting, seen: Sweep, change: float) -> Edits:
    """What each face's edit did when its target's probability had changed by `change`.

    Strengths are followed from 0 until the change is first reached; between two of them a face
    is interpolated, in quantities that are nearly straight along an edit: the referee's logits,
    roots of distances, angles of embeddings.
    """
    k, faces = sitting.column, np.arange(len(sitting.faces))
    logits = seen.logits[..., k] * sitting.sign
    wanted = _logit(sigmoid(logits[0]) + change)
    beyond = logits >= wanted
    reached = np.asarray(beyond.any(0))
    after = np.where(reached, beyond.argmax(0), 1)
    before = after - 1
    low, high = logits[before, faces], logits[after, faces]
    part = np.where(reached, (wanted - low) / np.where(high > low, high - low, 1.0), 0.0)

    def between(values: Float64) -> Float64:
        """One row of (S, F, ...), each face at its own place."""
        share = part.reshape(-1, *[1] * (values.ndim - 2))
        return np.asarray((1.0 - share) * values[before, faces] + share * values[after, faces])

    def cosine(values: Float64 | None) -> Float64 | None:
        return None if values is None else np.cos(between(np.arccos(np.clip(values, -1.0, 1.0))))

    there = replace(
        seen,
        logits=between(seen.logits),
        squared_distance=between(np.sqrt(seen.squared_distance)) ** 2,
        perceptual=between(np.sqrt(np.maximum(seen.perceptual, 0.0))) ** 2,
        identity_reconstruction=cosine(seen.identity_reconstruction),
        identity_input=cosine(seen.identity_input),
    )
    return Edits(reached, effects(sitting, there))


def _logit(probability: Float64) -> Float64:
    """Logit, infinite from 1 on: what no edit reaches."""
    inside = np.minimum(probability, 1.0 - np.finfo(np.float64).eps)
    return np.where(probability < 1.0, np.log(inside) - np.log1p(-inside), np.inf)
