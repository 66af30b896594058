"""Edited faces to show: each way of editing at each strength, looked at by the referee."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.geometry import sigmoid
from wstar_training.editing.edits import EditSpace, Float64, stepped, targeted
from wstar_training.figures.edits import Edited, EditedFace
from wstar_training.figures.material import as_bytes
from wstar_training.learning.codes import Batch

# Whether the attribute is given rather than taken, and how strongly: steps in standard deviations
# of the codes along the normal, and probabilities.
_STEPS = ((False, 3.0), (False, 1.5), (True, 1.5), (True, 3.0))
_PROBABILITIES = ((False, 0.99), (False, 0.8), (True, 0.8), (True, 0.99))


@dataclass(frozen=True)
class Way:
    """A way to edit, and the name that it has in a figure.

    spread: (K,), unit of its steps (see `EditSpace.spread`); None for edits to a probability.
    """

    name: str
    space: EditSpace
    spread: Float64 | None

    @torch.no_grad()
    def edited(self, w: Tensor, attribute: str) -> tuple[list[str], Tensor]:
        """Edit one face w (n, 512) at each strength: what was asked for, and codes (S, n, 512)."""
        w_star, logits = self.space.codes(w[None])
        edit = targeted if self.spread is None else stepped(self.spread)
        asked, coefficients = [], []
        for give, strength in _PROBABILITIES if self.spread is None else _STEPS:
            found = edit(self.space, attribute, logits, np.array([give]), strength)
            coefficients.append(found)
            if self.spread is None:
                asked.append(f"to {strength if give else 1.0 - strength:.2f}")
            else:
                step = found[0, ATTRIBUTES.index(attribute)]
                asked.append(f"step {step:+.1f}".replace("-", "−"))
        count = len(coefficients)
        codes = self.space.edited(w_star.expand(count, -1, -1), np.concatenate(coefficients))
        return asked, codes


@torch.no_grad()
def edited_faces(
    ways: Sequence[Way],
    w: Tensor,
    rows: NDArray[np.int64],
    attribute: str,
    pictures: Batch,
    generator: nn.Module,
    referee: nn.Module,
) -> list[EditedFace]:
    """Edit some rows of w (N, n, 512) in every way, and let the referee look.

    `pictures` gives the same faces as they were; the referee maps pictures to logits (N, K).
    """
    k = ATTRIBUTES.index(attribute)

    def looked_at(shown: Tensor, asked: Sequence[str]) -> list[Edited]:
        seen = sigmoid(referee(shown)[:, k].numpy())
        return [
            Edited(picture, words, float(probability))
            for picture, words, probability in zip(as_bytes(shown), asked, seen, strict=True)
        ]

    def drawn(codes: Tensor) -> Tensor:
        # One at a time: a picture of 1024 px takes 0.4 GB.
        return torch.cat([generator(code[None]).clamp(-1.0, 1.0) for code in codes])

    faces = []
    for row in rows:
        code = w[int(row)]
        given, rebuilt = pictures(np.array([row])), drawn(code[None])
        originals = [*looked_at(given, ["input"]), *looked_at(rebuilt, ["rebuilt"])]
        strips = []
        for way in ways:
            asked, codes = way.edited(code, attribute)
            strips.append((way.name, looked_at(drawn(codes), asked)))
        faces.append(EditedFace(originals, strips))
    return faces


def ways_of(plus: EditSpace, star_id: EditSpace, w: Tensor) -> list[Way]:
    """Those of the figures, with steps in units of the spread of the codes w (N, n, 512)."""
    return [
        Way("W+, step", plus, plus.spread(w)),
        Way("W*_ID, step", star_id, star_id.spread(w)),
        Way("W*_ID, targeted", star_id, None),
    ]
