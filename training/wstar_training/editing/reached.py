"""Targeted edits by the space's own classifier: is the probability there that was asked for?

Measured on codes as they come back, T(T⁻¹(edited code)), and, apart, after the edited picture was
drawn and encoded again: that also measures how well E and G fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar.attributes import ATTRIBUTES
from wstar.geometry import sigmoid
from wstar_training.editing.edits import Edit, EditSpace, Float64, held, targeted
from wstar_training.learning.codes import over_batches, regenerated

WANTED = (0.1, 0.5, 0.9)
TOLERANCE = 0.05

Encode = Callable[[Tensor], Tensor]


def encoded_again(generator: nn.Module, encoder: nn.Module) -> Encode:
    """E(G(w)) of w (N, n, 512); pictures are brought to the side that E takes."""
    size = (int(encoder.side), int(encoder.side))  # type: ignore[arg-type]

    def encode(w: Tensor) -> Tensor:
        draw = regenerated(generator, w)

        def batch(rows: Any) -> Tensor:  # noqa: ANN401
            pictures = draw(rows)
            if pictures.shape[-2:] != size:
                pictures = functional.interpolate(
                    pictures, size, mode="bilinear", antialias=True
                ).clamp(-1.0, 1.0)
            out: Tensor = encoder(pictures)
            return out

        return over_batches(len(w), batch)

    return encode


@torch.no_grad()
def reached_figures(
    space: EditSpace,
    w: Tensor,
    attributes: Sequence[str],
    few: int,
    drawn: Sequence[str],
    encode: Encode | None,
) -> dict[str, Any]:
    """Edit attributes of w (N, n, 512) to every wanted probability and read them again.

    Parameters
    ----------
    few, drawn: of the first `few` faces, edits of these attributes are also drawn and encoded
        again, by `encode`.

    Every attribute that the space tells is edited alone (`targeted`), and held beside all others
    (`held`) unless it is one of the `dependent`. `within` and `worst` are of the worst wanted
    probability of the edits alone.
    """
    w_star, logits = space.codes(w)
    told = [name for name in attributes if name in space.told]
    beside = [name for name in told if name not in space.dependent]
    figures: dict[str, Any] = {
        "faces": len(w),
        "untold": [name for name in ATTRIBUTES if name not in space.told],
        "dependent": list(space.dependent),
        "condition": space.condition,
        "wanted": {},
    }
    for wanted in WANTED:
        figures["wanted"][str(wanted)] = {
            "targeted": _errors(space, w_star, logits, targeted, told, wanted, None),
            "held": _errors(space, w_star, logits, held, beside, wanted, None),
        }
        if encode is not None:
            names = [name for name in drawn if name in told]
            again = _errors(space, w_star[:few], logits[:few], targeted, names, wanted, encode)
            figures["wanted"][str(wanted)]["encoded_again"] = again
    alone = [each["targeted"] for each in figures["wanted"].values()]
    known = None not in alone
    figures["within"] = min(each["within"] for each in alone) if known else None
    figures["worst"] = max(each["worst"] for each in alone) if known else None
    return figures


def _errors(
    space: EditSpace,
    w_star: Tensor,
    logits: Float64,
    edit: Edit,
    names: Sequence[str],
    wanted: float,
    encode: Encode | None,
) -> dict[str, Any] | None:
    """|reached − wanted| of some attributes, and how far edits that hold the others moved them.

    within: share of edits within 0.05. attributes_within: attributes of which every edit is.
    others: mean and largest |change of probability| of the other attributes.
    """
    errors, others = [], []
    for name in names:
        everyone = np.ones(len(logits), bool)
        edited = space.edited(w_star, edit(space, name, logits, everyone, wanted))
        _, after = space.codes(edited if encode is None else encode(edited))
        k = ATTRIBUTES.index(name)
        errors.append(np.abs(sigmoid(after[:, k]) - wanted))
        others.append(np.abs(np.delete(sigmoid(after) - sigmoid(logits), k, axis=1)))
    if not errors:
        return None
    error, moved = np.stack(errors), np.stack(others)
    return {
        "attributes": len(names),
        "attributes_within": int((error <= TOLERANCE).all(1).sum()),
        "within": float((error <= TOLERANCE).mean()),
        "mean": float(error.mean()),
        "worst": float(error.max()),
        "worst_attribute": names[int(error.max(1).argmax())],
        "others_mean": float(moved.mean()),
        "others_worst": float(moved.max()),
    }
