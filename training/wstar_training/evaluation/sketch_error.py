"""How far distances of sketches are from exact ones, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wstar.errors import InvalidInput
from wstar_training.learning.codes import Batch
from wstar_training.learning.losses import pair_distances
from wstar_training.learning.sketch import CountSketch
from wstar_training.models.perceptual import Judge

# Pictures whose features are held at once: 300 pairs.
_AT_ONCE = 25


@dataclass(frozen=True)
class SketchError:
    """How far distances of sketches of one size are from exact ones, relative to these.

    mean: of the error's size. p95: its 95th percentile over pairs. bias: mean of the signed error.
    expected: √(2/size), the largest standard deviation that the theory allows.
    """

    size: int
    pairs: int
    mean: float
    p95: float
    bias: float
    expected: float


@torch.no_grad()
def sketch_error(
    judge: Judge, pictures: Batch, count: int, sizes: Sequence[int], pairs: int, seed: int = 0
) -> list[SketchError]:
    """Compare distances of sketches, as kept in half precision, with exact ones.

    Parameters
    ----------
    pictures: `count` rows to pictures. sizes: those of the sketches.
    pairs: at least as many are compared, all pairs of small groups of pictures drawn at random.

    Raises
    ------
    InvalidInput: fewer than two pictures, less than one pair, or pictures that are all the same.
    """
    if count < 2:
        raise InvalidInput("count", count, "2 pictures or more")
    if pairs < 1:
        raise InvalidInput("pairs", pairs, "1 or more")
    random = np.random.default_rng(seed)
    group = min(count, _AT_ONCE)
    found: dict[int, list[Tensor]] = {size: [] for size in sizes}
    sketches: dict[int, CountSketch] = {}
    for _ in range(-(-pairs // (group * (group - 1) // 2))):
        rows = random.choice(count, group, replace=False)
        features = torch.cat(judge.features(pictures(rows)), 1)
        exact = pair_distances(features.double())
        for size in sizes:
            if size not in sketches:
                sketches[size] = CountSketch(features.shape[1], size, seed)
            kept = sketches[size](features).half()
            found[size].append(pair_distances(kept.double()) / exact - 1.0)
    return [_row(size, torch.cat(errors)) for size, errors in found.items()]


def _row(size: int, errors: Tensor) -> SketchError:
    # The same picture twice has no distance to be wrong about.
    errors = errors[errors.isfinite()]
    if not len(errors):
        raise InvalidInput("pictures", "pictures of no distance", "two that differ")
    return SketchError(
        size=size,
        pairs=len(errors),
        mean=errors.abs().mean().item(),
        p95=errors.abs().quantile(0.95).item(),
        bias=errors.mean().item(),
        expected=(2.0 / size) ** 0.5,
    )
