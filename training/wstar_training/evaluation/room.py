"""Attributes that codes hold, but not in a straight way: only of these can a space make more.

An attribute that a hyperplane of W+ reads as well as a free network leaves nothing to gain; where
most are such, the average over all attributes hides what happens to the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from wstar.attributes import ATTRIBUTES
from wstar_training.evaluation.metrics import averages, quotient, redraw
from wstar_training.evaluation.probes import Answers
from wstar_training.evaluation.space import as_figure

# Accuracy by which the free network has to be ahead of W+.
LEAST = 0.03


def room(baseline: str, spaces: Mapping[str, Answers], free: Answers) -> dict[str, Any]:
    """Accuracy over the attributes whose free network is `LEAST` or more ahead of the baseline.

    Every second face chooses the attributes, so that luck does not; the others are asked.

    Parameters
    ----------
    baseline: name of W+ among the spaces. spaces: answers about the same faces, by name.
    free: those of a free network on the codes.

    Returns
    -------
    attributes: those chosen. faces: how many were asked. accuracy: by space, and `free`.
    taken: by space other than the baseline, the share of the room (free − W+) that it gains.
    Without such an attribute, `accuracy` and `taken` are empty.
    """
    ahead = free.right[::2].mean(0) - spaces[baseline].right[::2].mean(0)
    chosen = np.flatnonzero(ahead >= LEAST)
    found: dict[str, Any] = {
        "least": LEAST,
        "attributes": [ATTRIBUTES[k] for k in chosen],
        "faces": len(free.truth) // 2,
        "accuracy": {},
        "taken": {},
    }
    if not len(chosen) or not found["faces"]:
        return found
    faces = np.arange(found["faces"])[:, None]
    weights = redraw(faces, len(faces), seed=0)
    rows = {
        name: averages(weights, answers.right[1::2][:, chosen].mean(1))
        for name, answers in {**spaces, "free": free}.items()
    }
    between = rows["free"] - rows[baseline]
    found["accuracy"] = {name: as_figure(each) for name, each in rows.items()}
    found["taken"] = {
        name: as_figure(quotient(each - rows[baseline], between))
        for name, each in rows.items()
        if name not in (baseline, "free")
    }
    return found
