"""The tables of an ablation: the figures of a world beside the paper's own, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wstar_training.ablation.jobs import FREE, Job
from wstar_training.ablation.paper import NOT_AT_HAND, PAPER_FIGURES, WORLD, paper_figure
from wstar_training.ablation.variants import VARIANTS
from wstar_training.evaluation.markdown import table
from wstar_training.evaluation.measure import BASELINE
from wstar_training.evaluation.yardsticks import TARGETS

_UNKNOWN = "–"

# Names of figures and how a table calls them.
_SVM = {"svm_min": "SVM min", "svm_max": "max", "svm_avg": "avg"}
_DCI = {"d": "D", "c": "C", "i": "I"}
_ERROR = {"mean.input": "Mean", "std.input": "STD"}
_UNSCALED = {"mean_unscaled.input": "Mean, d / 10", "std_unscaled.input": "STD, d / 10"}
_ORDER = {"two_alternative.input": "2AFC"}
_KEPT = {
    "identity": "L_ID on held-out codes",
    "two_alternative.input": "2AFC",
    "spearman.input": "Spearman",
    "svm_avg": "SVM avg",
    "d": "D",
    "round_trip": "round trip",
}
_CAREFUL = {
    "svm_balanced": "SVM balanced",
    "svm_auc": "AUC",
    "svm_gap": "SVM avg, own − fresh codes",
    "better": "attributes better than W+",
    "worse": "worse",
    "better_by_labels": "better than W+ on T's labels too",
    "worse_by_labels": "worse",
    "std_ratio.input": "STD by W+'s after its best rescale",
    "spearman.input": "Spearman",
    "two_alternative_gap.input": "2AFC, own − fresh codes",
    "two_alternative.regenerated": "2AFC of regenerated pictures",
    "spearman.regenerated": "Spearman of them",
    "round_trip": "round trip",
}
_FORMATS = {
    **{f"{key}{by}": ".1f" for key in ("better", "worse") for by in ("", "_by_labels")},
    "round_trip": ".1e",
}


@dataclass(frozen=True)
class Table:
    """A table: what it compares, the variants in it, and its columns.

    W+ and the free network stand in each. paper: whether the paper has it.
    """

    title: str
    compares: str
    variants: tuple[str, ...]
    columns: Mapping[str, str]
    paper: bool = True


TABLES = (
    Table(
        "Table 1",
        "Compares spaces: W+, W\\* of 13 couplings (eq. 3) and W\\*_ID (eq. 5). ID0, which the "
        "paper does not have, tells what is due to the other settings of ID1 (the list above).",
        ("H", "ID1", "ID0"),
        _SVM | _DCI | _ERROR | _ORDER,
    ),
    Table(
        "Table 2",
        "Compares capacities of T and the classifiers that guide it: fitted, or drawn at random.",
        ("H", "L3", "L4", "R", "1R"),
        _SVM | _DCI | _ERROR | _ORDER,
    ),
    Table(
        "Table 3",
        "Compares losses: both, attributes only, and with the identity loss; Mean and STD are "
        "against the perceptual distance without the paper's factor of 10. ID0 as in Table 1.",
        ("H", "L4", "A", "ID1", "ID01", "ID_R", "ID0"),
        {"svm_avg": "SVM avg"} | _DCI | _UNSCALED | _ORDER,
    ),
    Table(
        "Weights of the identity loss",
        "Compares λ_ID alone: all else of these variants is the same. L_ID (eq. 4) is of the τ "
        "that they were trained with; a λ_ID is chosen by what it takes from the others.",
        ("ID0", "ID01", "ID1", "ID10"),
        _KEPT,
        paper=False,
    ),
    Table(
        "Masks and tanh",
        "Compares halves of the coordinates drawn at random with even and odd ones in turn, and t "
        "as it comes with t bounded to [-1, 1].",
        ("H", "H_alt", "H_tanh"),
        _SVM | {"d": "D"} | _ORDER | {"spearman.input": "Spearman", "round_trip": "round trip"},
        paper=False,
    ),
    Table(
        "Beside the paper's columns",
        "Compares all variants by what those columns do not say; the paper has no such table.",
        tuple(one.name for one in VARIANTS),
        _CAREFUL,
        paper=False,
    ),
)


def summary(found: Mapping[Job, Mapping[str, Any]], steps: int | None) -> dict[str, Any]:
    """An ablation as plain data.

    world, codes: as in an evaluation. seeds, steps: as asked for. options: settings of the
    trainings by variant, but for their seeds. rows: by variant, `W_PLUS` and
    `FREE`, figures by name, each {"mean", "low", "high", "sd", "by_seed"}: low and high are the
    least and largest of the seeds. paper: what is known of the paper's.
    """
    kept = next(iter(found.values()))
    rows: dict[str, list[dict[str, float | None]]] = {BASELINE: [figures(kept, BASELINE)]}
    for job, measured in found.items():
        rows.setdefault(job.variant.name, []).append(figures(measured, job.name))
    rows[FREE] = [figures(kept, FREE)]
    return {
        "world": kept["report"]["world"],
        "codes": kept["report"]["codes"],
        "steps": steps,
        "seeds": sorted({job.seed for job in found}),
        "options": {
            job.variant.name: {
                key: value for key, value in each["options"].items() if key != "seed"
            }
            for job, each in found.items()
        },
        "rows": {
            name: {key: over_seeds([each[key] for each in seeds]) for key in seeds[0]}
            for name, seeds in rows.items()
        },
        "paper": [
            {"row": one.row, "column": one.column, "value": one.value, "what": one.what}
            for one in PAPER_FIGURES
        ],
    }


def figures(kept: Mapping[str, Any], name: str) -> dict[str, float | None]:
    """The figures of a space, or of the free network, out of what was measured."""
    report = kept["report"]
    free = name == FREE
    space = report["ceiling"] if free else report["spaces"][name]
    svm = space["attributes"]["all"] if free else space["svm"]
    found: dict[str, float | None] = {
        f"svm_{key}": svm[key]["value"] for key in ("min", "max", "avg", "balanced", "auc")
    }
    for letter, key in zip("dci", ("disentanglement", "completeness", "informativeness"),
                           strict=True):  # fmt: skip
        found[letter] = None if free else space["dci"][key]["value"]
    found["svm_gap"] = None if free else space["svm_gap"]["avg"]["value"]
    found["round_trip"] = None if free else space["round_trip"]
    found["identity"] = None if free else kept["identity"][name]
    compared = not free and name != BASELINE
    for gain, suffix in (("gain", ""), ("gain_by_labels", "_by_labels")):
        for key in ("better", "worse"):
            of = len(space[gain]["attributes"][key]) if compared else None
            found[f"{key}{suffix}"] = of
    for target in TARGETS:
        distance, unit = space["distance"][target], space["distance"][target]["mean_wanted"]
        for key in ("mean", "std"):
            found[f"{key}.{target}"] = distance["paper"][key] / unit
            found[f"{key}_unscaled.{target}"] = kept["unscaled"][name][target][key] / unit
        for key in ("two_alternative", "pearson", "spearman"):
            found[f"{key}.{target}"] = distance[key]["value"]
        gap = space["distance_gap"][target]["two_alternative"]["value"]
        found[f"two_alternative_gap.{target}"] = gap
        ratio = space["gain"]["std_ratio"][target]["value"] if compared else None
        found[f"std_ratio.{target}"] = ratio
    return found


def over_seeds(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean, range and standard deviation of a figure over seeds; null if a seed could not tell."""
    known = [value for value in values if value is not None]
    whole = len(known) == len(values)
    several = whole and len(known) > 1
    return {
        "mean": statistics.mean(known) if whole else None,
        "low": min(known) if several else None,
        "high": max(known) if several else None,
        "sd": statistics.stdev(known) if several else None,
        "by_seed": list(values),
    }


def markdown(found: Mapping[str, Any]) -> str:
    """The tables of a summary that have a variant in them."""
    parts = [f"# Ablation: {found['world']}", _heading(found), _settings(found)]
    for one in TABLES:
        names = [name for name in one.variants if name in found["rows"]]
        if not names:
            continue
        parts += [f"## {one.title}", one.compares, _table(one, names, found)]
        left_out = [name for name in one.variants if name not in names]
        if left_out:
            parts.append(f"Not trained here: {', '.join(left_out)}.")
    return "\n\n".join([*parts, _notes(found)]) + "\n"


def _heading(found: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, found["seeds"]))
    codes = found["codes"]
    said = (
        f"Every figure says which world it is of. T was trained on {codes['t_trained_on']} codes, "
        f"probes were fitted on {codes['svm']['fit']} and tested on {codes['svm']['test']} others, "
        f"distances are of {codes['distance']['pictures']} held-out pictures. Figures of variants "
        f"are means over seeds {seeds}, the least and the largest seed in brackets."
    )
    if found["steps"] is None:
        return said
    return f"**A trial: training was cut to at most {found['steps']} steps.** {said}"


def _settings(found: Mapping[str, Any]) -> str:
    """What variants were trained with: a study may give those of eq. 5 other settings too."""
    keys = {
        "couplings": "couplings", "steps": "steps at most", "rate": "rate", "batch": "batch",
        "distance_weight": "λ_d", "identity_weight": "λ_ID", "noise": "τ",
    }  # fmt: skip
    rows = [
        [
            _NAMES[name],
            *(f"{options[key]:g}" for key in keys),
            options["masks"],
            "bounded" if options["tanh_t"] else "free",
        ]
        for name, options in found["options"].items()
    ]
    return table(["trained here", *keys.values(), "masks", "t"], rows)


def label(found: Mapping[str, Any]) -> str:
    """The world of a summary's figures, short."""
    world = str(found["world"]).partition(":")[0]
    return world if found["steps"] is None else f"{world}, trial"


def _table(one: Table, names: Iterable[str], found: Mapping[str, Any]) -> str:
    rows = []
    for name in (BASELINE, *names, FREE):
        shown = [_shown(found["rows"][name][key], _FORMATS.get(key, ".3f")) for key in one.columns]
        rows.append([_NAMES[name], label(found), *shown])
        if one.paper and name not in (FREE, *_OURS):
            rows.append([_NAMES[name], WORLD, *(_paper(name, key) for key in one.columns)])
    return table(["space", "figures of", *one.columns.values()], rows)


_OURS = tuple(one.name for one in VARIANTS if one.ours)
_NAMES = {
    BASELINE: "W+",
    **{one.name: f"{one.name}: {one.says.partition(' (')[0]}" for one in VARIANTS},
    FREE: "free MLP, not invertible",
}


def _shown(figure: Mapping[str, Any], format: str) -> str:
    mean, low, high = (figure[key] for key in ("mean", "low", "high"))
    if mean is None:
        return _UNKNOWN
    if low is None or high is None:
        return f"{mean:{format}}"
    return f"{mean:{format}} [{low:{format}}, {high:{format}}]"


def _paper(row: str, column: str) -> str:
    """A cell of the paper, with the letter of its note."""
    figure = paper_figure(row, column)
    return NOT_AT_HAND if figure is None else f"{figure.text} ({_letter(row, column)})"


def _letter(row: str, column: str) -> str:
    places = [(one.row, one.column) for one in PAPER_FIGURES]
    return chr(ord("a") + places.index((row, column)))


def _notes(found: Mapping[str, Any]) -> str:
    # Those of older measurements were.
    matched = found["codes"].get("matched", True)
    here = (
        f"Figures of {label(found)}: Mean and STD are of D\\* − d of input pictures, over the "
        "paper's number of pairs where there are as many, in units of the mean of d, which is "
        f"{'scaled so that W+ has the same mean' if matched else 'not matched to W+'}; "
        "in Table 3 of D\\* − d / 10, in the same units. T is "
        "the same in all tables. SVMs are fitted and tested on codes that T was not trained on; "
        "DCI is along the axes of W+; better and worse attributes are significant (McNemar, Holm, "
        "5 %), beside SVMs in W+ on the same codes and beside such on the codes that T was trained "
        "on as well. W+ and the free MLP do not depend on seeds: the MLP is a map of the same "
        "codes, of T's codes too, that need not be invertible. Intervals of each seed's figures "
        "stand in its folder."
    )
    paper = [f"- ({_letter(one.row, one.column)}) {one.text}: {one.what}." for one in PAPER_FIGURES]
    return "\n\n".join(
        [
            here,
            f"Figures of {WORLD}: only those that documents of this project state. Where they say "
            "nothing of it, which variant stands in which table is our arrangement.",
            "\n".join(paper),
        ]
    )
