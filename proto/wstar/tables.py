"""Replies as aligned tables for terminals."""

from __future__ import annotations

from collections.abc import Sequence

from wstar.info import Info
from wstar.replies import Distances, Edit, Scores

_ROUNDING = 1e-12


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows under a header: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(_line(row, widths) for row in (header, rule, *rows))


def figure(value: float | None) -> str:
    """Write a measured number with four significant digits; nothing for None.

    What rounding leaves of an exact 0 is shown as 0.
    """
    if value is None:
        return ""
    return f"{value:.4g}" if abs(value) >= _ROUNDING else "0"


def info(found: Info) -> str:
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
    parts = [
        f"wstar {found.version}, {found.runner}\ncodes of {found.n} x 512; "
        f"pictures in {found.encoder_side} px, out {found.resolution} px",
        table(["space", "space id", *labels], spaces),
        table(
            ["limit", "value"], [[name, str(value)] for name, value in vars(found.limits).items()]
        ),
    ]
    if measured:
        parts.append(table(["measured", *(space[0] for space in spaces)], measured))
    return "\n\n".join([*parts, f"attributes: {', '.join(found.attributes)}"])


def pair(names: Sequence[str], found: Distances) -> str:
    """One distance and, if it was explained, the attributes by the size of their share."""
    squared = figure(found.squared_distance[0])
    rows = [
        ["squared distance", squared],
        # The root of what rounding leaves is no longer tiny.
        ["distance", figure(found.distance[0]) if squared != "0" else "0"],
        ["reference pairs nearer", f"{found.percentile[0]:.1f} %"],
    ]
    parts = [table([" - ".join(names), "value"], rows)]
    if found.attributes:
        shares = list(zip(found.attributes, found.shares[0].tolist(), strict=True))
        shares.sort(key=lambda share: -abs(share[1]))
        shares.append(("(no attribute)", float(found.residual[0])))
        whole = sum(share for _, share in shares) or 1.0
        explained = [
            [name, figure(share), f"{100 * share / whole:.1f} %"] for name, share in shares
        ]
        parts.append(table(["attribute", "share", "of squared distance"], explained))
    return "\n\n".join(parts)


def matrix(names: Sequence[str], found: Distances) -> str:
    """Squared distances of all with all."""
    rows = [
        [name, *map(figure, row)]
        for name, row in zip(names, found.squared_distance.tolist(), strict=True)
    ]
    return table(["squared distance", *names], rows)


def scores(names: Sequence[str], found: Sequence[Scores]) -> str:
    """Probabilities; the longer of faces and attributes runs down the page."""
    by_face = [[f"{probability:.3f}" for _, probability in face] for face in found]
    attributes = found[0].attributes
    if len(names) > len(attributes):
        rows = [[name, *row] for name, row in zip(names, by_face, strict=True)]
        return table(["probability", *attributes], rows)
    rows = [[name, *row] for name, *row in zip(attributes, *by_face, strict=True)]
    return table(["probability", *names], rows)


def edit(pictures: Sequence[str], found: Edit, shown: Sequence[str]) -> str:
    """Probabilities of the `shown` attributes before and after, and the distance moved."""
    rows = [["(before)", "", "", *(f"{found.scores_before[name]:.3f}" for name in shown)]]
    rows += [
        [picture, f"{result.strength:g}", figure(result.squared_distance_moved)]
        + [f"{result.scores[name]:.3f}" for name in shown]
        for picture, result in zip(pictures, found.results, strict=True)
    ]
    return table(["picture", "strength", "squared distance moved", *shown], rows)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
