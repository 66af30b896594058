"""The tables of an evaluation, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wstar_training.editing import editing_tables
from wstar_training.evaluation.markdown import table

Figure = Mapping[str, float | None] | float | None

SPACES = {"W_PLUS": "W+", "W_STAR": "W\\*", "W_STAR_ID": "W\\*_ID"}
_TARGETS = {"input": "input pictures", "regenerated": "regenerated pictures"}
_BASELINE = "W_PLUS"
_ALL = ", T's codes too"
_LINEAR = f"W+{_ALL}"
_FREE = "free MLP, not invertible"
_UNKNOWN = "–"

_MATCHED = "W+ is compared at a scale at which its mean distance is that of the judge."
_CHOSEN = (
    "The judge's scale was chosen, not matched to W+: the Mean and STD of W+ hold the difference "
    "of both scales, those after a best factor do not."
)
_NOTES = """\
Codes that train T, that fit a probe and that are asked about are disjoint; figures on T's own codes
stand apart. Intervals in brackets are 95 %: bootstraps that redraw pictures, not pairs; of DCI,
Student's over disjoint draws of 2000 codes. {scale}
DCI of all spaces is along the same axes: those of W+ that T acts on. An SVM in W\\* learns from the
labels that T was trained on as well, through T: "W+, T's codes too" are SVMs in W+ that were fitted
on just as many. The free MLPs are maps of the same codes that need not be invertible: what they
cannot do, the codes hardly allow."""


def markdown(report: Mapping[str, Any]) -> str:
    """Every table of a report, under a heading that says which world the figures are of."""
    spaces = report["spaces"]
    parts = [f"# Evaluation: {report['world']}", _counts(report["codes"])]
    if "reconstruction" in report:
        parts += ["## Reconstruction", _reconstruction(report["reconstruction"])]
    parts += ["## The paper's Table 1", table_1(spaces)]
    for target, name in _TARGETS.items():
        parts += [f"## Distance of {name}", *_distances(report, target)]
    parts += ["## Attributes", _averages(report), _room(report["room"]), *_each_attribute(report)]
    parts += ["## Disentanglement, completeness, informativeness", _dci(spaces)]
    parts += ["## W\\* minus W+, paired", _gains(spaces)]
    if "editing" in report:
        parts += ["## Edits", *editing_tables(report["editing"])]
    parts += ["## T's own codes minus fresh codes", _gaps(report), _conditioning(spaces)]
    scale = _MATCHED if report["codes"]["matched"] else _CHOSEN
    return "\n\n".join([*parts, _NOTES.format(scale=scale)]) + "\n"


def show(figure: Figure, digits: int = 3, unit: float = 1.0) -> str:
    """A figure in units of `unit`, its interval in brackets where it has one."""
    if isinstance(figure, Mapping):
        value, low, high = (figure[key] for key in ("value", "low", "high"))
    else:
        value, low, high = figure, None, None
    if value is None:
        return _UNKNOWN
    shown = f"{value / unit:.{digits}f}"
    if low is None or high is None:
        return shown
    return f"{shown} [{low / unit:.{digits}f}, {high / unit:.{digits}f}]"


def _name(space: str) -> str:
    return SPACES.get(space, space)


def _value(figure: Figure, digits: int = 3) -> str:
    """A figure without its interval."""
    return show(figure["value"] if isinstance(figure, Mapping) else figure, digits)


def _counts(codes: Mapping[str, Any]) -> str:
    svm, distance = codes["svm"], codes["distance"]
    return (
        f"T was trained on {codes['t_trained_on']} codes. Probes were fitted on {svm['fit']} "
        f"others and tested on {svm['test']} (the paper: 12000 and 3000). Distances: "
        f"{distance['pairs']} pairs and {distance['triplets']} triplets of "
        f"{distance['pictures']} pictures."
    )


def table_1(spaces: Mapping[str, Any], target: str = "input") -> str:
    """The paper's columns, by its protocol."""
    header = [
        "space", "SVM min", "max", "avg", "D", "C", "I", "Mean", "STD", "2AFC",
    ]  # fmt: skip
    keys = ("svm_min", "svm_max", "svm_avg", "d", "c", "i", "mean", "std", "two_alternative")
    rows = [
        [_name(name), *(_value(space["table1"][target][key]) for key in keys)]
        for name, space in spaces.items()
    ]
    note = (
        f"Distances are those of {_TARGETS[target]}; Mean and STD of D\\* − d over "
        f"{next(iter(spaces.values()))['distance'][target]['paper']['pairs']} pairs, in units of "
        "the mean of d."
    )
    return table(header, rows) + "\n\n" + note


def _reconstruction(figures: Mapping[str, Any]) -> str:
    names = {
        "psnr_db": "PSNR, dB",
        "referee_on_pictures": "referee right on pictures",
        "referee_on_reconstructions": "referee right on reconstructions",
        "referee_agreement": "referee says the same of both",
    }
    rows = [[name, show(figures[key], 2 if key == "psnr_db" else 3)] for key, name in names.items()]
    return table(["held-out faces", "value"], rows)


def _with_free(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every space and the free network, by the name that is shown."""
    return [
        *((_name(name), space) for name, space in report["spaces"].items()),
        (_FREE, report["ceiling"]),
    ]


def _distances(report: Mapping[str, Any], target: str) -> list[str]:
    errors, orders, bands = [], [], []
    for name, figures in _with_free(report):
        found = figures["distance"][target]
        unit = found["mean_wanted"]
        errors.append([name, *(show(found[f"{key}{scale}"], unit=unit)
                               for scale in ("", "_w_plus_scale", "_rescaled")
                               for key in ("mean", "std"))])  # fmt: skip
        orders.append([name, *(show(found[key]) for key in (
            "two_alternative", "pearson", "spearman", "kendall", "slope", "r2"))])  # fmt: skip
        bands.append([name, *(show(band["two_alternative"]) for band in found["bands"])])
    ranges = [
        f"{b['from']:.2f} to {b['to']:.2f}" for b in report["ceiling"]["distance"][target]["bands"]
    ]
    return [
        table(["D\\* − d in units of the mean of d", "Mean", "STD", "Mean, W+'s best factor",
               "STD, W+'s best factor", "Mean, own best factor", "STD, own best factor"], errors),
        table(["order", "2AFC", "Pearson", "Spearman", "Kendall", "slope of d on D\\*", "R²"],
              orders),
        table(["2AFC by margin \\|d1 − d0\\| / mean d, in fifths", *ranges], bands),
    ]  # fmt: skip


def _averages(report: Mapping[str, Any]) -> str:
    def row(name: str, svm: Mapping[str, Any], rest: Sequence[str]) -> list[str]:
        figures = [show(svm[key]) for key in ("min", "max", "avg", "balanced", "auc")]
        return [name, *figures, *rest]

    rows = []
    for name, space in report["spaces"].items():
        readout = space.get("readout")
        served = [_UNKNOWN, _UNKNOWN]
        if readout is not None:
            served = [show(readout["accuracy"]), show(readout["calibration_error"], 4)]
        rows.append(row(_name(name), space["svm"], served))
    rows.append(row(_LINEAR, report["linear"], [_UNKNOWN] * 2))
    for name, space in report["spaces"].items():
        if "all_labels" in space:
            rows.append(row(_name(name) + _ALL, space["all_labels"]["svm"], [_UNKNOWN] * 2))
    free = report["ceiling"]["attributes"]
    rows.append(row("free MLP, the same codes to fit", free["probe"], [_UNKNOWN] * 2))
    rows.append(row("free MLP, T's codes too", free["all"], [_UNKNOWN] * 2))
    usual = sum(a["base_rate"] for a in report["attributes"].values()) / len(report["attributes"])
    rows.append(["the usual answer", _UNKNOWN, _UNKNOWN, show(usual), "0.500", "0.500",
                 _UNKNOWN, _UNKNOWN])  # fmt: skip
    header = [
        "SVM in", "min", "max", "average accuracy", "balanced", "AUC", "served read-out",
        "its calibration error",
    ]  # fmt: skip
    return table(header, rows)


def _room(found: Mapping[str, Any]) -> str:
    """The same over attributes that leave something to gain."""
    said = (
        f"the free MLP (T's codes too) is {found['least']:.2f} or more ahead of SVMs in W+ on the "
        "same labels"
    )
    if not found["accuracy"]:
        return f"There is no attribute in which {said}."
    names = {"free": _FREE, "W_PLUS_ALL": _LINEAR}
    rows = [
        [names.get(name) or _name(name), show(figure), show(found["taken"].get(name), 2)]
        for name, figure in found["accuracy"].items()
    ]
    chosen = ", ".join(found["attributes"])
    return (
        f"Attributes in which {said}, chosen on every second face of the test: {chosen}. The "
        f"other {found['faces']} faces:\n\n"
        + table(["SVM in", "average accuracy over these", "share of the room taken"], rows)
    )


def _each_attribute(report: Mapping[str, Any]) -> list[str]:
    """Attribute by attribute: W+, W* and the ceilings; then how many differ."""
    star = "W_STAR" if "W_STAR" in report["spaces"] else _BASELINE
    rows = []
    for name, a in report["attributes"].items():
        plus, own, free = a["spaces"][_BASELINE], a["spaces"][star], a["free"]
        rows.append(
            [
                name, show(a["share"], 2), show(a["base_rate"]), _value(plus["accuracy"]),
                _value(own["accuracy"]), show(own["gain"]), f"{own['p_holm']:.2g}",
                _value(a["linear"]["accuracy"]),
                _value(free["probe"]["accuracy"]), _value(free["all"]["accuracy"]),
                *(f"{_value(plus[key])} / {_value(own[key])}" for key in ("balanced", "auc")),
            ]
        )  # fmt: skip
    header = [
        "attribute", "share", "base rate", "W+", _name(star), "gain", "p (Holm)", _LINEAR,
        "free MLP, same codes", "free MLP, T's codes too", f"balanced, W+ / {_name(star)}",
        f"AUC, W+ / {_name(star)}",
    ]  # fmt: skip
    return [
        table(header, rows),
        "Attributes that differ after Holm's correction (McNemar, 5 %):",
        _differing(report["spaces"]),
    ]


def _differing(spaces: Mapping[str, Any]) -> str:
    rows = []
    for name, space in spaces.items():
        compared = [(_name(name), _LINEAR, space["gain_by_labels"])]
        if name != _BASELINE:
            compared.insert(0, (_name(name), _name(_BASELINE), space["gain"]))
        if "all_labels" in space:
            compared.append((_name(name) + _ALL, _LINEAR, space["all_labels"]["gain"]))
        rows += [
            [one, other, *(_listed(gain["attributes"][side]) for side in ("better", "worse"))]
            for one, other, gain in compared
        ]
    return table(["SVM in", "beside", "better", "worse"], rows)


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)}: {', '.join(names)}" if names else "0"


def _dci(spaces: Mapping[str, Any]) -> str:
    keys = (
        "disentanglement", "completeness", "weighted_completeness", "informativeness",
        "relative_error",
    )  # fmt: skip
    rows = [
        [_name(name), *(show(space["dci"][key]) for key in keys), str(space["dci_draws"])]
        for name, space in spaces.items()
    ]
    header = [
        "space", "D", "C, mean over attributes", "C, weighted by importance", "I, RMSE",
        "I, NRMSE", "draws",
    ]  # fmt: skip
    return table(header, rows)


def _gains(spaces: Mapping[str, Any]) -> str:
    rows = []
    for name, space in spaces.items():
        if name == _BASELINE:
            continue
        gain = space["gain"]
        for target, where in _TARGETS.items():
            distance = gain["distance"][target]
            rows += [
                [_name(name), f"{key}, {where}", show(distance[at])]
                for at, key in (
                    ("two_alternative", "2AFC"), ("pearson", "Pearson"), ("spearman", "Spearman"),
                    ("kendall", "Kendall"), ("r2", "R²"),
                )
            ]  # fmt: skip
            ratio = f"STD by that of W+ after its best rescale (a ratio), {where}"
            rows.append([_name(name), ratio, show(gain["std_ratio"][target])])
        rows += [
            [_name(name), f"SVM {key}", show(gain["svm"][at], 4)]
            for at, key in (("avg", "accuracy"), ("balanced", "balanced"), ("auc", "AUC"))
        ]
        for one, beside in (
            (_name(name), space["gain_by_labels"]),
            (_name(name) + _ALL, space.get("all_labels", {}).get("gain")),
        ):
            if beside is not None:
                gained = show(beside["svm"]["avg"], 4)
                rows.append([one, f"SVM accuracy beside {_LINEAR}", gained])
        rows += [
            [_name(name), letter, show(gain["dci"][at])]
            for at, letter in (
                ("disentanglement", "D"), ("completeness", "C"), ("informativeness", "I"),
            )
        ]  # fmt: skip
    return table(["space", "figure", "difference"], rows)


def _gaps(report: Mapping[str, Any]) -> str:
    rows = []
    for name, figures in _with_free(report):
        attributes = [_UNKNOWN] * 4
        if "svm_gap" in figures:
            attributes = [
                *(show(figures["svm_gap"][key], 4) for key in ("avg", "balanced", "auc")),
                show(figures["dci_gap"]["disentanglement"]),
            ]
        for target, where in _TARGETS.items():
            gap, unit = figures["distance_gap"][target], figures["distance"][target]["mean_wanted"]
            rows.append(
                [
                    name, where, show(gap["std"], unit=unit),
                    *(show(gap[key]) for key in ("two_alternative", "pearson", "spearman")),
                    *attributes,
                ]
            )  # fmt: skip
    header = [
        "space", "distance of", "STD", "2AFC", "Pearson", "Spearman", "SVM accuracy", "balanced",
        "AUC", "D",
    ]  # fmt: skip
    return table(header, rows)


def _conditioning(spaces: Mapping[str, Any]) -> str:
    rows = [
        [_name(name), f"{space['round_trip']:.1e}", f"{space['s_std']:.2f}"]
        for name, space in spaces.items()
    ]
    return table(["space", "round trip in float32, by the spread of w", "largest std of s"], rows)
