"""What the demo found, as tables for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from wstar.client import Client
from wstar.tables import figure
from wstar_service.demo.gallery import Neighbour, Portrait
from wstar_service.demo.strips import EDITED, TARGET, Strip, leak

SHOWN_FACES = 6
COMPARED_FACES = 4
IGNORED = ("Eyeglasses", "Wearing_Hat")


@dataclass(frozen=True)
class Finding:
    """A table, what it shows, and a sentence of what is seen in it."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    seen: str


def attributes(portraits: Sequence[Portrait]) -> Finding:
    """Probabilities of a few attributes, and what sets each face apart from the others."""
    mean = np.mean([face.scores.probabilities for face in portraits], axis=0)
    rows = []
    for face in portraits[:SHOWN_FACES]:
        above = face.scores.probabilities - mean
        names = [face.scores.attributes[index] for index in np.argsort(-above)[:3]]
        shown = [f"{face.scores[attribute]:.2f}" for attribute in EDITED]
        rows.append([face.name, *shown, ", ".join(names)])
    return Finding(
        "Attributes",
        ["probability of", *EDITED, "most above average"],
        rows,
        f"Probabilities of {len(EDITED)} of the 40 attributes, and the three in which a face "
        f"exceeds the average of all {len(portraits)} most.",
    )


def distances(client: Client, portraits: Sequence[Portrait]) -> Finding:
    """Pairs of faces: distance, what it is without two attributes, what it owes most to."""
    pairs = list(combinations(portraits[:COMPARED_FACES], 2))
    a, b = ([pair[side].w_star for pair in pairs] for side in (0, 1))
    plain = client.distance(a, b, explain=True)
    ignoring = client.distance(a, b, ignore=IGNORED)
    rows = []
    for row, (one, other) in enumerate(pairs):
        largest = int(np.argmax(plain.shares[row]))
        share = plain.shares[row, largest] / max(plain.squared_distance[row], 1e-12)
        rows.append(
            [
                f"{one.name} - {other.name}",
                figure(plain.squared_distance[row]),
                figure(plain.distance[row]),
                f"{plain.percentile[row]:.0f} %",
                figure(ignoring.squared_distance[row]),
                f"{plain.attributes[largest]} {100 * share:.0f} %",
            ]
        )
    without = " and ".join(IGNORED)
    return Finding(
        "Distances in W*",
        ["pair", "squared", "distance", "pairs nearer", f"without {' '.join(IGNORED)}", "most of"],
        rows,
        f"Squared distance, its root, and the share of reference pairs that are nearer; the same "
        f"if {without} do not count; and the attribute that explains most of it.",
    )


def neighbours(
    portraits: Sequence[Portrait],
    queries: Sequence[int],
    by_w_star: Sequence[Sequence[Neighbour]],
    by_w_plus: Sequence[Sequence[Neighbour]],
) -> Finding:
    """How the nearest faces by W* and by W+ differ."""
    common = [
        len({face.index for face in one} & {face.index for face in other})
        for one, other in zip(by_w_star, by_w_plus, strict=True)
    ]
    count = len(by_w_star[0])
    rows = []
    for query in queries:
        near = [found[query][0] for found in (by_w_star, by_w_plus)]
        cells = [f"{portraits[face.index].name} {figure(face.squared_distance)}" for face in near]
        rows.append([portraits[query].name, *cells, f"{common[query]} of {count}"])
    return Finding(
        "Neighbours",
        ["query", "nearest by W*", "nearest by W+", "found by both"],
        rows,
        f"Over all {len(portraits)} faces, {np.mean(common):.1f} of the {count} nearest are the "
        f"same in W* and W+. The two spaces measure on different scales: compare orders, not "
        f"numbers.",
    )


def edits(strips: Sequence[Strip]) -> Finding:
    """Each edit before and after, how far it moved the face, and what changed with it."""
    rows = []
    for strip in strips:
        for name, edit in (("W*_ID", strip.w_star_id), ("W+", strip.w_plus)):
            after = edit.results[-1]
            beside = leak(edit, strip.attribute)
            rows.append(
                [
                    strip.attribute,
                    name,
                    strip.face.name,
                    f"{edit.scores_before[strip.attribute]:.2f}",
                    f"{after.scores[strip.attribute]:.2f}",
                    figure(after.squared_distance_moved),
                    f"{beside.attribute} {beside.change:+.2f}",
                ]
            )
    moved = [
        np.mean([edit.results[-1].squared_distance_moved for edit in column])
        for column in zip(*((strip.w_star_id, strip.w_plus) for strip in strips), strict=True)
    ]
    return Finding(
        f"Edits to probability {TARGET:g}",
        ["attribute", "space", "face", "before", "after", "moved in W*", "largest other change"],
        rows,
        f"The full edits moved the faces by a squared distance of {figure(float(moved[0]))} in W* "
        f"when made in W*_ID and of {figure(float(moved[1]))} when made in W+, on average. "
        f"Probabilities are those of the space of the edit.",
    )
