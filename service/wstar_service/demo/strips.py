"""Edits of the demo: each attribute on a face that lacks it, in W*_ID and in W+."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wstar.client import Client
from wstar.graphs import Space
from wstar.replies import Edit
from wstar_service.demo.gallery import Portrait

EDITED = ("Smiling", "Eyeglasses", "Male", "Young", "Bangs", "Blond_Hair", "Wearing_Hat")
TARGET = 0.99
STRENGTHS = (0.0, 1 / 3, 2 / 3, 1.0)


@dataclass(frozen=True, eq=False)
class Strip:
    """One attribute raised to 0.99 on one face, in steps, in the editing space and in W+."""

    attribute: str
    face: Portrait
    w_star_id: Edit
    w_plus: Edit


@dataclass(frozen=True)
class Leak:
    """The attribute beside the edited one whose probability changed most, and by how much."""

    attribute: str
    change: float


def edit_all(client: Client, portraits: Sequence[Portrait]) -> list[Strip]:
    """Edit every attribute of the demo, each on another face where there are enough."""
    strips = []
    unused = list(portraits)
    for attribute in EDITED:
        face = _lacking(unused or list(portraits), attribute)
        unused = [other for other in unused if other is not face]
        w_star_id, w_plus = (
            client.edit(face.picture, {attribute: TARGET}, strengths=STRENGTHS, space=space)
            for space in (Space.W_STAR_ID, Space.W_PLUS)
        )
        strips.append(Strip(attribute, face, w_star_id, w_plus))
    return strips


def leak(edit: Edit, attribute: str) -> Leak:
    """Return the largest change of another attribute at full strength."""
    before, after = edit.scores_before, edit.results[-1].scores
    changes = after.probabilities - before.probabilities
    changes[after.attributes.index(attribute)] = 0.0
    largest = int(np.argmax(np.abs(changes)))
    return Leak(after.attributes[largest], float(changes[largest]))


def _lacking(portraits: Sequence[Portrait], attribute: str) -> Portrait:
    """Return the user's first face that lacks the attribute, or the face that lacks it most."""
    for face in portraits:
        if face.yours and face.scores[attribute] < 0.1:
            return face
    return min(portraits, key=lambda face: face.scores[attribute])
