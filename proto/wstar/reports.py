"""What each answer says to a reader: tables and paragraphs, in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wstar.info import Info
from wstar.replies import Distances, Edit, Scores
from wstar.tables import Table, figure

Report = list[Table | str]

# Names of members beyond this many characters are counted instead.
_MEMBERS_CHARACTERS = 60


def info(found: Info) -> Report:
    """Version, spaces with labels, limits, measured figures, attributes."""
    labels = sorted({name for summary in found.spaces for name in summary.labels})
    spaces = [
        [summary.space.value, summary.space_id, *(summary.labels.get(name, "") for name in labels)]
        for summary in found.spaces
    ]
    figures = sorted({name for summary in found.spaces for name in summary.evaluation})
    measured = [
        [name, *(figure(summary.evaluation.get(name)) for summary in found.spaces)]
        for name in figures
    ]
    limits = [[name, str(value)] for name, value in vars(found.limits).items()]
    parts: Report = [
        f"wstar {found.version}, {found.runner}\ncodes of {found.n} x 512; "
        f"pictures in {found.encoder_side} px, out {found.resolution} px\n"
        f"answers {', '.join(found.capabilities) or 'nothing'}",
        Table(["space", "space id", *labels], spaces),
        Table(["limit", "value"], limits),
    ]
    if measured:
        parts.append(Table(["measured", *(space[0] for space in spaces)], measured))
    return [*parts, f"attributes: {', '.join(found.attributes)}"]


def pair(names: Sequence[str], found: Distances) -> Report:
    """One distance and, if it was explained, the attributes by the size of their share."""
    squared = figure(found.squared_distance[0])
    rows = [
        ["squared distance", squared],
        # The root of what rounding leaves is no longer tiny.
        ["distance", figure(found.distance[0]) if squared != "0" else "0"],
    ]
    # Not a number if the client compared the codes, which knows no reference pairs.
    if not np.isnan(found.percentile[0]):
        rows.append(["reference pairs nearer", f"{found.percentile[0]:.1f} %"])
    parts: Report = [Table([" - ".join(names), "value"], rows)]
    if found.attributes:
        shares = list(zip(found.attributes, found.shares[0].tolist(), strict=True))
        shares.sort(key=lambda share: -abs(share[1]))
        shares.append(("(no attribute)", float(found.residual[0])))
        whole = sum(share for _, share in shares) or 1.0
        explained = [
            [name, figure(share), f"{100 * share / whole:.1f} %"] for name, share in shares
        ]
        parts.append(Table(["attribute", "share", "of squared distance"], explained))
    return parts


def matrix(names: Sequence[str], found: Distances) -> Report:
    """Squared distances of all with all."""
    rows = [
        [name, *map(figure, row)]
        for name, row in zip(names, found.squared_distance.tolist(), strict=True)
    ]
    return [Table(["squared distance", *names], rows)]


def scores(names: Sequence[str], found: Sequence[Scores]) -> Report:
    """Probabilities; the longer of faces and attributes runs down the page."""
    by_face = [[f"{probability:.3f}" for _, probability in face] for face in found]
    attributes = found[0].attributes
    if len(names) > len(attributes):
        rows = [[name, *row] for name, row in zip(names, by_face, strict=True)]
        return [Table(["probability", *attributes], rows)]
    rows = [[name, *row] for name, *row in zip(attributes, *by_face, strict=True)]
    return [Table(["probability", *names], rows)]


def edit(pictures: Sequence[str], found: Edit, shown: Sequence[str], *, budget: bool) -> Report:
    """Probabilities of the `shown` attributes before and after, and the distance moved.

    budget: adds how much of each edit was made.
    """
    blank = [""] * (3 if budget else 2)
    rows = [["(before)", *blank, *_probabilities(found.scores_before, shown)]]
    for picture, result in zip(pictures, found.results, strict=True):
        made = [f"{result.scale:.3g}"] if budget else []
        moved = figure(result.squared_distance_moved)
        row = [picture, f"{result.strength:g}", *made, moved]
        rows.append([*row, *_probabilities(result.scores, shown)])
        if result.remeasured is not None:
            seen = figure(result.remeasured.squared_distance_moved)
            again = _probabilities(result.remeasured.scores, shown)
            rows.append(["(picture remeasured)", *blank[1:], seen, *again])
    made = ["scale"] if budget else []
    return [Table(["picture", "strength", *made, "squared distance moved", *shown], rows)]


def neighbors(
    queries: Sequence[str],
    names: Sequence[Sequence[str]],
    squared_distances: NDArray[np.float64],
) -> Report:
    """The nearest stored faces of each query, nearest first."""
    rows = [
        [query, name, figure(squared)]
        for query, near, distances in zip(queries, names, squared_distances.tolist(), strict=True)
        for name, squared in zip(near, distances, strict=True)
    ]
    return [Table(["face", "near", "squared distance"], rows, text=(0, 1))]


def clusters(groups: Sequence[Sequence[str]]) -> Report:
    """Clusters by number, with their first members."""
    rows = [
        [str(number), str(len(members)), _shortened(members)]
        for number, members in enumerate(groups)
    ]
    return [Table(["cluster", "size", "members"], rows, text=(0, 2))]


def _probabilities(found: Scores, shown: Sequence[str]) -> list[str]:
    return [f"{found[name]:.3f}" for name in shown]


def _shortened(members: Sequence[str]) -> str:
    text = members[0]
    for count, name in enumerate(members[1:], start=1):
        if len(text) + len(name) > _MEMBERS_CHARACTERS:
            return f"{text} and {len(members) - count} more"
        text += f", {name}"
    return text
