"""The tables of an evaluation, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SPACES = {"W_PLUS": "W+", "W_STAR": "W\\*", "W_STAR_ID": "W\\* (identity)"}
_EDITED_IN = {**_SPACES, "W_PLUS_FOR_EDITS": "W+, hyperplanes made for edits"}
_TARGETS = {"input": "input pictures", "regenerated": "regenerated pictures"}


def markdown(report: Mapping[str, Any]) -> str:
    """Every table of a report written by an evaluation."""
    parts = [
        _reconstruction(report["reconstruction"]),
        _attributes(report["spaces"]),
        *[_distances(report, target) for target in _TARGETS],
        _edits(report["edits"]),
        _changed(report),
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, *rows)]
    lines.insert(1, "|" + "---|" * len(header))
    return "\n".join(lines)


def _interval(figure: Mapping[str, float], digits: int = 3, unit: float = 1.0) -> str:
    value, low, high = (figure[key] / unit for key in ("value", "low", "high"))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _reconstruction(figures: Mapping[str, Any]) -> str:
    names = {
        "psnr_db": "PSNR, dB",
        "referee_on_pictures": "referee right on pictures",
        "referee_on_reconstructions": "referee right on reconstructions",
        "referee_agreement": "referee says the same of both",
    }
    rows = [
        [name, _interval(figures[key], 2 if key == "psnr_db" else 3)] for key, name in names.items()
    ]
    return _table(["reconstruction of held-out faces", "value [95 %]"], rows)


def _attributes(spaces: Mapping[str, Any]) -> str:
    rows = []
    for key, name in _SPACES.items():
        s = spaces[key]
        svm, dci = s["svm"], s["dci"]
        rows.append(
            [
                name, f"{svm['min']:.3f}", f"{svm['max']:.3f}", _interval(svm["avg"]),
                f"{s['svm_train']['avg']['value']:.3f}",
                f"{svm['balanced']:.3f}", f"{svm['auc']:.3f}",
                f"{dci['disentanglement']:.3f}", f"{dci['completeness']:.3f}",
                f"{dci['informativeness']:.3f}",
                f"{s['readout']['accuracy']:.3f}", f"{s['readout']['calibration_error']:.4f}",
                f"{s['round_trip']:.1e}", f"{s['s_std']:.2f}",
            ]
        )  # fmt: skip
    header = [
        "space", "SVM min", "max", "avg [95 %]", "avg on T's codes", "balanced", "AUC",
        "D", "C", "I", "served read-out", "its calibration error", "round trip", "s std",
    ]  # fmt: skip
    return _table(header, rows)


def _distances(report: Mapping[str, Any], target: str) -> str:
    rows = []
    spaces = {name: report["spaces"][key] for key, name in _SPACES.items()}
    for name, figures in (*spaces.items(), ("free MLP", report["ceiling"])):
        fresh, train = figures["distance"][target], figures["distance_train"][target]
        unit = fresh["mean_wanted"]
        rows.append(
            [
                name, _interval(fresh["mean"], unit=unit), _interval(fresh["std"], unit=unit),
                _interval(fresh["std_rescaled"], unit=unit), _interval(fresh["two_alternative"]),
                _interval(fresh["pearson"]),
                f"{train['two_alternative']['value']:.3f}, {train['pearson']['value']:.3f}",
            ]
        )  # fmt: skip
    header = [
        f"distance of {_TARGETS[target]}; errors in units of its mean", "Mean", "STD",
        "STD after best rescale", "2AFC",
        "Pearson", "2AFC, Pearson on T's codes",
    ]  # fmt: skip
    return _table(header, rows)


def _edits(edits: Mapping[str, Any]) -> str:
    rows = []
    for key, name in _EDITED_IN.items():
        for probability, figures in edits[key].items():
            for attribute, e in figures.items():
                rows.append(
                    [
                        name, probability, attribute, f"{e['before']:.2f}",
                        f"{e['agreement']:.2f}", f"{e['leakage']:.3f}", f"{e['flipped']:.3f}",
                        f"{e['identity']:.3f}",
                    ]
                )  # fmt: skip
    header = [
        "edit in", "to", "attribute", "referee sees it before", "after", "leakage",
        "others flipped", "identity cosine",
    ]  # fmt: skip
    return _table(header, rows)


def _changed(report: Mapping[str, Any]) -> str:
    """Attributes whose SVM accuracy differs between W+ and W*, after Holm's correction."""
    rows = [
        [name, f"{a['W_PLUS']:.3f}", f"{a['W_STAR']:.3f}", f"{a['p_holm']:.3g}"]
        for name, a in report["attributes"].items()
        if a["p_holm"] < 0.05
    ]
    gain = "Average SVM accuracy, W\\* minus W+: " + _interval(report["svm_gain"], 4) + ". "
    if not rows:
        return gain + "No attribute differs after Holm's correction (McNemar, 5 %)."
    header = ["attributes that differ (Holm, 5 %)", "W+", "W\\*", "corrected p"]
    return gain + "\n\n" + _table(header, rows)
