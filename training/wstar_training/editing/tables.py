"""The tables of a report of edits, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wstar_training.evaluation.markdown import table

SPACES = {
    "W_PLUS": "W+",
    "W_PLUS_FOR_EDITS": "W+, hyperplanes made for edits",
    "W_STAR": "W\\*",
    "W_STAR_ID": "W\\*_ID",
}
KINDS = {"step": "step", "targeted": "targeted", "held": "targeted, all others held"}
# The achieved change of the table that is shown whole, and of that by attribute.
_SHOWN = ("0.3", "0.5", "0.7")
_BY_ATTRIBUTE = "0.5"
_LEAKS = 3

Figure = Mapping[str, float] | None


def editing_tables(report: Mapping[str, Any]) -> list[str]:
    """Every table of what `editing_report` measured."""
    parts = [
        _means_of_words(report),
        *[_equal_change(report, change) for change in _SHOWN],
        *[_differences(report, change) for change in _SHOWN],
        _by_attribute(report),
        _reached(report["reached"]),
        _agreement(report["targeted"]),
        _leakage(report["leakage"]),
    ]
    return [part for part in parts if part]


def _figure(figure: Figure, unit: float = 1.0, digits: int = 3, signed: bool = False) -> str:
    if figure is None:
        return "-"
    sign = "+" if signed else ""
    value, low, high = (figure[key] / unit for key in ("value", "low", "high"))
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def way_name(way: str) -> str:
    """A way to edit in words, such as "W+, step"."""
    space, kind = way.split(" ")
    return f"{SPACES.get(space, space)}, {KINDS.get(kind, kind)}"


def _means_of_words(report: Mapping[str, Any]) -> str:
    """What the figures are, once for all tables."""
    referee = report["referee"]["reconstructions"]
    lines = [
        f"Edits of {report['faces']} held-out faces per attribute at most. The referee, which no "
        f"loss has seen, reads {referee['accuracy']:.1%} of the attributes of reconstructions "
        f"rightly ({_number(referee['balanced'])} balanced).",
        "A change is one of the probability that the referee gives, towards what was asked for. "
        "Leakage is the mean |change| of the other attributes; flipped, the share of them whose "
        "presence the referee sees changed. Distances are in units of the mean distance of two "
        "faces. A targeted edit of one attribute goes the way of a step: at equal change they "
        "differ only in which faces they reach, and what the tables show beside that is the error "
        "of interpolating between strengths.",
    ]
    if report["identity"]:
        lines.append("Identity is the cosine of a face network that no loss has seen.")
    else:
        lines.append("No identity referee was given: identity is left out.")
    if blind := referee["blind"]:
        lines.append("The referee hardly reads " + ", ".join(blind) + ".")
    return " ".join(lines)


def _columns(report: Mapping[str, Any]) -> dict[str, str]:
    columns = {"leakage": "leakage", "flipped": "flipped"}
    if report["identity"]:
        columns["identity_reconstruction"] = "identity to reconstruction"
        columns["identity_input"] = "identity to input"
    return columns | {"perceptual": "perceptual distance", "squared_distance": "D\\* in its space"}


def _unit(report: Mapping[str, Any], way: str, column: str) -> float:
    units = report["units"]
    if column == "squared_distance":
        return float(units[column][way.split(" ")[0]])
    return float(units[column]) if column == "perceptual" else 1.0


def _equal_change(report: Mapping[str, Any], change: str) -> str:
    """The main ways at one achieved change."""
    found = report["equal_change"].get(change)
    if found is None:
        return ""
    columns = _columns(report)
    rows = []
    for way in report["main"]:
        figures = found["ways"][way]
        cells = [_figure(figures[key], _unit(report, way, key)) for key in columns]
        rows.append([way_name(way), _figure(figures["reached"], digits=2), *cells])
    header = [
        f"at a change of {change}: {found['common']} edits of {found['edits']} that all ways reach",
        "reach it",
        *columns.values(),
    ]
    return table(header, rows)


def _differences(report: Mapping[str, Any], change: str) -> str:
    """Every way against the first, over the edits that these two reach."""
    found = report["equal_change"].get(change)
    if found is None:
        return ""
    # D* of different spaces has no common unit.
    columns = {key: name for key, name in _columns(report).items() if key != "squared_distance"}
    rows = []
    for way, figures in found["differences"].items():
        cells = [_figure(figures[key], _unit(report, way, key), signed=True) for key in columns]
        reached = _figure(found["ways"][way]["reached"], digits=2)
        rows.append([way_name(way), reached, str(figures["edits"]), *cells])
    first = way_name(report["main"][0])
    header = [f"at a change of {change}, minus {first}", "reach it", "edits", *columns.values()]
    return table(header, rows)


def _by_attribute(report: Mapping[str, Any]) -> str:
    """Which share of faces each way brings to a change, attribute by attribute."""
    found = report["equal_change"].get(_BY_ATTRIBUTE)
    if found is None:
        return ""
    ways = [way for way in found["ways"] if way in report["main"] or way == "W_STAR_ID held"]
    rows = [
        [name, *[f"{shares[way]:.2f}" for way in ways]]
        for name, shares in found["by_attribute"].items()
    ]
    return table([f"share that reaches a change of {_BY_ATTRIBUTE}", *map(way_name, ways)], rows)


def _reached(spaces: Mapping[str, Any]) -> str:
    """Whether the probability asked for is there, by the space's own classifier."""
    kinds = {
        "targeted": "targeted",
        "held": "targeted, all others held",
        "encoded_again": "targeted, drawn and encoded again",
    }
    rows = []
    for space, figures in spaces.items():
        for wanted, each in figures["wanted"].items():
            for kind, name in kinds.items():
                if (found := each.get(kind)) is None:
                    continue
                rows.append(
                    [
                        SPACES.get(space, space), name, wanted, str(found["attributes"]),
                        str(found["attributes_within"]), f"{found['within']:.3f}",
                        f"{found['mean']:.1e}", f"{found['worst']:.1e}",
                        found["worst_attribute"], f"{found['others_worst']:.1e}",
                    ]
                )  # fmt: skip
    header = [
        "edits in", "edit", "wanted", "attributes", "all within 0.05", "edits within 0.05",
        "mean error", "worst", "worst attribute", "largest change of another",
    ]  # fmt: skip
    notes = [
        f"{SPACES.get(space, space)}: condition number of all normals {figures['condition']:.3g}"
        + _named("cannot tell", figures["untold"])
        + _named("dependent, not held", figures["dependent"])
        for space, figures in spaces.items()
    ]
    return table(header, rows) + "\n\n" + "; ".join(notes) + "."


def _named(words: str, names: Sequence[str]) -> str:
    return f", {words}: {', '.join(names)}" if names else ""


def _agreement(targeted: Mapping[str, Any]) -> str:
    """What the referee sees of edits to a probability, means over attributes."""
    rows = []
    for space, probabilities in targeted.items():
        for wanted, each in probabilities.items():
            e = each["mean"]
            rows.append(
                [
                    SPACES.get(space, space), wanted, str(len(each) - 1), f"{e['agreed']:.2f}",
                    f"{e['change']:.3f}", f"{e['leakage']:.3f}", f"{e['flipped']:.3f}",
                    _number(e["identity_reconstruction"]), _number(e["identity_input"]),
                ]
            )  # fmt: skip
    header = [
        "targeted edits in", "to", "attributes", "referee agrees", "change", "leakage", "flipped",
        "identity to reconstruction", "identity to input",
    ]  # fmt: skip
    return table(header, rows) if rows else ""


def _leakage(leakage: Mapping[str, Any]) -> str:
    """The matrices in short: what is changed, what leaks, and the largest leaks."""
    names, rows = leakage["attributes"], []
    for kind, strength in leakage["strength"].items():
        for space, matrices in leakage.get(kind, {}).items():
            matrix = matrices["absolute"]
            wanted = [row[k] for k, row in enumerate(matrix) if row[k] is not None]
            leaks = [
                (value, names[k], names[j])
                for k, row in enumerate(matrix)
                for j, value in enumerate(row)
                if j != k and value is not None
            ]
            if not leaks:
                continue
            largest = sorted(leaks, reverse=True)[:_LEAKS]
            rows.append(
                [
                    SPACES.get(space, space), f"{kind} {strength:g}", str(len(wanted)),
                    f"{sum(wanted) / len(wanted):.3f}",
                    f"{sum(value for value, _, _ in leaks) / len(leaks):.4f}",
                    "; ".join(f"{a} on {b} {value:.2f}" for value, a, b in largest),
                ]
            )  # fmt: skip
    header = [
        "leakage matrix of edits in", "edit", "attributes", "change of the target", "of another",
        "largest leaks",
    ]  # fmt: skip
    return table(header, rows) if rows else ""


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
