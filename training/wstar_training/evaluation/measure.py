"""Everything measured of flows of a study, on codes that trained nothing.

The report is plain data. A figure is {"value", "low", "high"}, with its 95 % interval, or a number:

- world, codes: where the figures come from, and how many codes and trials they are of.
- spaces.NAME: `table1` (the paper's columns, by target), `distance` (by target: names of
  `agreement.distance_rows`), `svm`, `dci`; the same with `_train`, on T's own codes, and with
  `_gap`, T's own codes minus fresh ones; `gain`, paired differences to W+ (`std_ratio`: STD by that
  of W+ after W+'s best rescale); `round_trip`, `s_std`.
- ceiling: the same figures of free networks on the same codes.
- spaces.NAME.gain_by_labels: `gain` of attributes beside SVMs in W+ that were fitted on T's codes
  too, as many labels as reach W* through T; `linear`: the figures of those. Of what is served, an
  evaluation adds `all_labels`: SVMs in the space that were fitted on those codes as well.
- room: what `room.room` says of attributes that W+ leaves something to gain in.
- attributes.NAME: `share` and `base_rate`, scores by space, and those of the free networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wstar.attributes import ATTRIBUTES
from wstar.graphs import Space
from wstar_training.evaluation.agreement import Distances
from wstar_training.evaluation.metrics import best_scale, holm, mcnemar, quotient, redraw
from wstar_training.evaluation.probes import Answers, Scores, scores, svm
from wstar_training.evaluation.room import room
from wstar_training.evaluation.space import (
    as_figure,
    conditioning,
    dci_draws,
    dci_rows,
    distance_figures,
    mean_scores,
    over_draws,
    score_figures,
    space_distances,
)
from wstar_training.evaluation.yardsticks import (
    SPLITS,
    TARGETS,
    Key,
    ProbeFaces,
    Yardsticks,
    labelled,
    probe_faces,
    progress,
    same_axes,
    yardsticks,
)
from wstar_training.models.flow import Flow
from wstar_training.study.stages import Study

Float64 = NDArray[np.float64]
Rows = Mapping[str, Float64]

BASELINE = Space.W_PLUS.value
# SVMs in W+ that were fitted on the codes T learned from as well.
LINEAR = "W_PLUS_ALL"
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Measured:
    """A space: its figures, and the rows and answers that it is compared with W+ by."""

    figures: dict[str, Any]
    distances: Mapping[Key, Rows]
    answers: Answers
    scores: Scores
    dci: Rows


@dataclass(frozen=True)
class Baseline:
    """W+ of a study, measured: what every T is compared with.

    scale: by target, the factor under which distances in W+ imitate the perceptual ones best.
    linear: scores of `yard.linear_all`.
    """

    yard: Yardsticks
    scale: Mapping[str, float]
    plus: Measured
    linear: Scores


def measure_baseline(study: Study) -> Baseline:
    """Measure W+; what depends on no flow is measured once and kept in the run (`yardsticks`)."""
    yard, flow = yardsticks(study), study.flow(Space.W_PLUS)
    w = study.codes.w["test"][: yard.drawn["test"].count]
    plain = space_distances(flow, w, yard.drawn["test"].trials)
    scale = {
        target: best_scale(plain.pairs, yard.perceptual["test", target].pairs) for target in TARGETS
    }
    plus = _measured(study, yard, BASELINE, flow, scale)
    return Baseline(yard, scale, plus, _scored(yard.linear_all, 0))


def measure(
    study: Study, flows: Mapping[str, Flow], baseline: Baseline | None = None
) -> dict[str, Any]:
    """Measure flows by name beside W+; the report of the module's first lines.

    baseline: of the same study; None measures it.
    """
    base = baseline or measure_baseline(study)
    yard, scale, plus = base.yard, base.scale, base.plus
    measured = {BASELINE: plus}
    for name, flow in flows.items():
        if name != BASELINE:
            measured[name] = _measured(study, yard, name, flow, scale)
    for space in measured.values():
        space.figures["gain"] = _gain(space, plus)
        space.figures["gain_by_labels"] = _attribute_gain(
            space.answers, space.scores, yard.linear_all, base.linear
        )
    faces = probe_faces(study, study.flow(Space.W_PLUS))
    return {
        "world": study.labels.get("world", "own files: " + ", ".join(study.labels.values())),
        "codes": _counts(study, yard, faces),
        "spaces": {name: space.figures for name, space in measured.items()},
        "ceiling": _ceiling(base),
        "linear": score_figures(base.linear),
        "room": room(
            LINEAR,
            {LINEAR: yard.linear_all, **{name: one.answers for name, one in measured.items()}},
            yard.free_all,
        ),
        "attributes": _attributes(base, faces, measured),
    }


def on_all_labels(study: Study, flow: Flow, baseline: Baseline) -> dict[str, Any]:
    """SVMs in a space fitted on T's codes too, beside those of W+ that were: equal labels.

    Not of every T that is measured: it takes as long as all the rest.
    """
    faces = probe_faces(study, flow)
    answers = svm(labelled(study, flow, faces.fit), faces.test)
    scored = _scored(answers, 0)
    return {
        "svm": score_figures(scored),
        "gain": _attribute_gain(answers, scored, baseline.yard.linear_all, baseline.linear),
    }


def _counts(study: Study, yard: Yardsticks, faces: ProbeFaces) -> dict[str, Any]:
    trials = yard.drawn["test"].trials
    return {
        "t_trained_on": study.trained,
        # Whether the perceptual scale is such that W+ has the judge's mean.
        "matched": study.chosen_scale is None,
        "svm": {"fit": len(faces.fit), "test": len(faces.test)},
        "distance": {
            "pictures": yard.drawn["test"].count,
            "pairs": len(trials.pairs),
            "triplets": len(trials.triplets),
        },
    }


def _measured(
    study: Study, yard: Yardsticks, name: str, flow: Flow, scale: Mapping[str, float]
) -> Measured:
    progress(f"space {name}")
    figures: dict[str, Any] = dict(conditioning(flow, study.codes.w["test"]))
    found = {
        split: space_distances(
            flow, study.codes.w[split][: yard.drawn[split].count], yard.drawn[split].trials
        )
        for split in SPLITS
    }
    distances, distance_rows = _distances(
        yard, {(split, target): found[split] for split in SPLITS for target in TARGETS}, scale
    )
    faces = probe_faces(study, flow)
    fresh, own = svm(faces.fit, faces.test), svm(faces.own_fit, faces.own_test)
    fresh_scores, own_scores = _scored(fresh, 0), _scored(own, 1)
    axes = faces if same_axes(study, flow) else probe_faces(study, flow, dci_axes=True)
    dci, own_dci = (
        dci_rows(dci_draws(fit, test))
        for fit, test in ((axes.fit, axes.test), (axes.own_fit, axes.own_test))
    )
    figures |= distances
    figures |= {
        "svm": score_figures(fresh_scores),
        "svm_train": score_figures(own_scores),
        "svm_gap": _differences(mean_scores(own_scores), mean_scores(fresh_scores)),
        "dci": {name: over_draws(rows) for name, rows in dci.items()},
        "dci_train": {name: over_draws(rows) for name, rows in own_dci.items()},
        "dci_gap": {name: float(own_dci[name].mean() - rows.mean()) for name, rows in dci.items()},
        "dci_draws": len(dci["disentanglement"]),
    }
    figures["table1"] = {target: _table1(figures, target) for target in TARGETS}
    return Measured(figures, distance_rows, fresh, fresh_scores, dci)


def _table1(figures: Mapping[str, Any], target: str) -> dict[str, float]:
    """The paper's columns; Mean and STD over 600 pairs, in units of the mean distance."""
    distance, svm_figures, dci = figures["distance"][target], figures["svm"], figures["dci"]
    unit = distance["mean_wanted"]
    return {
        **{f"svm_{name}": svm_figures[name]["value"] for name in ("min", "max", "avg")},
        **{
            name[0]: dci[name]["value"]
            for name in ("disentanglement", "completeness", "informativeness")
        },
        "mean": distance["paper"]["mean"] / unit,
        "std": distance["paper"]["std"] / unit,
        "two_alternative": distance["two_alternative"]["value"],
    }


def _distances(
    yard: Yardsticks, found: Mapping[Key, Distances], scale: Mapping[str, float]
) -> tuple[dict[str, Any], Mapping[Key, Rows]]:
    """Figures of fresh codes, of T's own, and their difference, by target; and their rows."""
    figures: dict[str, Any] = {"distance": {}, "distance_train": {}, "distance_gap": {}}
    rows: dict[Key, Rows] = {}
    for target in TARGETS:
        for split, name in zip(SPLITS, ("distance", "distance_train"), strict=True):
            key: Key = (split, target)
            figures[name][target], rows[key] = distance_figures(
                found[key], yard.perceptual[key], yard.drawn[split], scale[target]
            )
        figures["distance_gap"][target] = _differences(rows["flow", target], rows["test", target])
    return figures, rows


def _scored(answers: Answers, seed: int) -> Scores:
    count = len(answers.truth)
    return scores(answers, redraw(np.arange(count)[:, None], count, seed))


def _differences(first: Rows, second: Rows) -> dict[str, Any]:
    return {name: as_figure(first[name] - second[name]) for name in first}


def _gain(space: Measured, plus: Measured) -> dict[str, Any]:
    """Paired differences to W+: the same pictures are redrawn in both."""
    fresh = {target: (space.distances["test", target], plus.distances["test", target])
             for target in TARGETS}  # fmt: skip
    ratio = {
        target: as_figure(quotient(own["std"], other["std_rescaled"]))
        for target, (own, other) in fresh.items()
    }
    return {
        "distance": {target: _differences(own, other) for target, (own, other) in fresh.items()},
        "std_ratio": ratio,
        "dci": {name: over_draws(rows - plus.dci[name]) for name, rows in space.dci.items()},
        **_attribute_gain(space.answers, space.scores, plus.answers, plus.scores),
    }


def _attribute_gain(
    answers: Answers, own: Scores, other: Answers, others: Scores
) -> dict[str, Any]:
    """Scores minus those of other SVMs, and which attributes differ significantly."""
    significant = holm(_p(answers, other)) < _SIGNIFICANT
    better = answers.accuracy > other.accuracy
    chosen = {"better": significant & better, "worse": significant & ~better}
    return {
        "svm": _differences(mean_scores(own), mean_scores(others)),
        "attributes": {
            key: [ATTRIBUTES[k] for k in np.flatnonzero(rows)] for key, rows in chosen.items()
        },
    }


def _p(one: Answers, other: Answers) -> Float64:
    """McNemar's p-value by attribute, (K,)."""
    right = zip(other.right.T, one.right.T, strict=True)
    return np.array([mcnemar(a, b) for a, b in right])


def _ceiling(base: Baseline) -> dict[str, Any]:
    """Of free networks; `gain`: what they are ahead of SVMs in W+ on the same labels, T's too."""
    yard = base.yard
    figures, _ = _distances(yard, yard.free, base.scale)
    probe, every = _scored(yard.free_probe, 0), _scored(yard.free_all, 0)
    figures["attributes"] = {
        "probe": score_figures(probe),
        "all": score_figures(every),
        "gain": _differences(mean_scores(every), mean_scores(base.linear)),
    }
    return figures


def _attributes(
    base: Baseline, faces: ProbeFaces, measured: Mapping[str, Measured]
) -> dict[str, Any]:
    """Attribute by attribute: every space beside W+, the base rate and the free networks."""
    yard, linear = base.yard, base.linear
    truth = faces.test.attributes
    usual = faces.fit.attributes.mean(0) > 0.5
    free = {"probe": _scored(yard.free_probe, 0), "all": _scored(yard.free_all, 0)}
    plus = measured[BASELINE]
    p = {name: _p(space.answers, plus.answers) for name, space in measured.items()}
    corrected = {name: holm(values) for name, values in p.items()}
    report: dict[str, Any] = {}
    for k, attribute in enumerate(ATTRIBUTES):
        report[attribute] = {
            "share": float(truth[:, k].mean()),
            # Of the answer that most of the fitted faces have.
            "base_rate": float((truth[:, k] == usual[k]).mean()),
            "free": {name: _one(each, k) for name, each in free.items()},
            "linear": _one(linear, k),
            "spaces": {
                name: {
                    **_one(space.scores, k),
                    "gain": as_figure(space.scores.accuracy[:, k] - plus.scores.accuracy[:, k]),
                    "p": float(p[name][k]),
                    "p_holm": float(corrected[name][k]),
                }
                for name, space in measured.items()
            },
        }
    return report


def _one(found: Scores, k: int) -> dict[str, Any]:
    return {
        "accuracy": as_figure(found.accuracy[:, k]),
        "balanced": as_figure(found.balanced[:, k]),
        "auc": as_figure(found.auc[:, k]),
    }


def plain(report: Any) -> Any:  # noqa: ANN401
    """The same data for JSON: what could not be measured, NaN, is null."""
    if isinstance(report, dict):
        return {key: plain(value) for key, value in report.items()}
    if isinstance(report, list):
        return [plain(value) for value in report]
    if isinstance(report, float) and not math.isfinite(report):
        return None
    return report
