"""Everything measured of edits: what they do to the target, to the rest of the face, and to whom.

Faces are of the split `test`. What looks at the pictures took no part in any loss: the referee and
the identity referee of the study. The perceptual judge is the one that T learned from: it says how
far a face moved, not whether the edit is right.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from wstar.attributes import ATTRIBUTES
from wstar.errors import InvalidInput
from wstar_training.editing.edits import Bools, EditSpace, Float64
from wstar_training.editing.reached import encoded_again, reached_figures
from wstar_training.editing.studio import Studio
from wstar_training.editing.sweep import Pool
from wstar_training.editing.ways import tried
from wstar_training.learning.codes import compose, over_batches
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow
from wstar_training.readout.fitted import on_codes
from wstar_training.study.stages import Study

PLUS, FOR_EDITS = "W_PLUS", "W_PLUS_FOR_EDITS"
# Faces that those of an attribute are chosen from, for each that is edited.
_POOL = 20
# Faces whose distances are the units that moves are counted in.
_UNIT_FACES = 64
# Balanced accuracy below which a verdict on an attribute means little.
_BLIND = 0.7
_DIGITS = 4


def editing_report(
    study: Study,
    flows: Mapping[str, Flow],
    readouts: Mapping[str, Classifiers],
    faces: int = 20,
    attributes: Sequence[str] | None = None,
    swept: Sequence[str] | None = None,
    encoded: bool = True,
) -> dict[str, Any]:
    """Measure edits in every space; JSON-able.

    Parameters
    ----------
    flows, readouts: T and what is served of each space, by its name; W_PLUS is compared with. A
        study that makes hyperplanes for edits is also measured with such ones in W+, as
        W_PLUS_FOR_EDITS: what is due to T stands apart from what is not.
    faces: edited of each attribute. attributes: edited, rows of the leakage matrices; None takes
        those of the study. swept: those that are edited at every strength and compared at equal
        achieved change; None takes them all. Fewer make a quick run.
    encoded: whether edited pictures are also encoded again, which takes E.

    Returns
    -------
    faces, pool, identity: faces edited of each attribute at most, faces they are chosen from, and
        whether there is an identity referee. without_faces: attributes that no face lacks.
    referee: how well it reads pictures and reconstructions of the pool.
    units: mean perceptual distance, and by space mean D*, of two faces.
    targeted: by space, wanted probability ("0.9", "0.99"), and attribute (or "mean"): effects.
    sweeps: by way ("W_STAR step"), then attribute: effects by strength, means over faces.
    leakage: by kind ("step", "targeted") and space: K x K matrices `absolute` and `signed`. Rows
        are edited, columns are looked at; null where nothing was edited. `signed` counts changes
        in the direction of having the edited attribute.
    main, equal_change: the ways compared, and by achieved change ("0.5") what
        `comparison.compared` says; `by_attribute` is the share that each way brings there.
    curves: by way, over edits that all main ways bring to the last of `change`: effects there.
    reached: by space, what `reached.reached_figures` says.
    """
    attributes = study.edited if attributes is None else attributes
    swept = attributes if swept is None else swept
    for name in swept:
        if name not in attributes:
            raise InvalidInput("swept", name, "some of those edited: " + ", ".join(attributes))
    spaces = _spaces(study, flows, readouts)
    studio = _studio(study)
    _progress("faces before")
    w = study.codes.w["test"][: _POOL * faces]
    truth, given = study.attributes("test")[: len(w)], study.faces("test")
    pool = Pool(
        w=w,
        attributes=truth,
        logits=over_batches(len(w), compose(studio.referee, studio.drawn(w))).double().numpy(),
        given=None
        if studio.identity is None
        else over_batches(len(w), compose(studio.identity, given)),
    )
    on_pictures = over_batches(len(w), compose(studio.referee, given)).double().numpy()
    report: dict[str, Any] = {
        "faces": faces,
        "pool": len(w),
        "identity": studio.identity is not None,
        "referee": {
            "pictures": _referee_figures(on_pictures, truth),
            "reconstructions": _referee_figures(pool.logits, truth),
        },
        "units": _units(studio, spaces, w[:_UNIT_FACES]),
        **tried(studio, spaces, pool, faces, attributes, swept),
        "reached": {},
    }
    again = encoded_again(studio.generator, study.encoder) if encoded else None
    for name, space in spaces.items():
        _progress(f"probabilities reached in {name}")
        some = w[: 2 * faces]
        report["reached"][name] = reached_figures(space, some, attributes, faces, swept, again)
    return dict(_plain(report))


def edit_agreement(report: Mapping[str, Any], space: str) -> float | None:
    """Share of targeted edits to 0.99 in which the referee sees what was asked for."""
    mean = report["targeted"].get(space, {}).get("0.99", {}).get("mean")
    return None if mean is None else float(mean["agreed"])


def _spaces(
    study: Study, flows: Mapping[str, Flow], readouts: Mapping[str, Classifiers]
) -> dict[str, EditSpace]:
    """W+ first, with its hyperplanes and with such made for edits, then the others."""
    each = {name: EditSpace(flow, readouts[name]) for name, flow in flows.items()}
    first = {PLUS: each.pop(PLUS)} if PLUS in each else {}
    if first and study.made_for_edits:
        _progress("hyperplanes of W+ made for edits")
        plus = flows[PLUS]
        first[FOR_EDITS] = EditSpace(plus, on_codes(study.editing_readout(plus), plus))
    return first | each


def _studio(study: Study) -> Studio:
    judge = study.judge
    # The scale of what is served; the judge's own is from before the codes were made.
    factor = math.sqrt(study.perceptual_scale / judge.scale)

    def features(pictures: Tensor) -> list[Tensor]:
        return [part * factor for part in judge.features(pictures)]

    generator = study.identity_path.generator
    return Studio(generator, study.referee, study.identity_referee, features)


def _referee_figures(logits: Float64, truth: Bools) -> dict[str, Any]:
    """Accuracy and balanced accuracy of the referee, and the attributes that it hardly reads."""
    said = logits > 0
    balanced = {
        name: float(balanced_accuracy_score(truth[:, k], said[:, k]))
        for k, name in enumerate(ATTRIBUTES)
        if truth[:, k].any() and not truth[:, k].all()
    }
    return {
        "accuracy": float((said == truth).mean()),
        "balanced": float(np.mean(list(balanced.values()))) if balanced else None,
        "blind": [name for name, score in balanced.items() if score < _BLIND],
    }


def _units(studio: Studio, spaces: Mapping[str, EditSpace], w: Tensor) -> dict[str, Any]:
    """Mean distances of faces that lie next to each other: a random pair is as far."""
    pictures = studio.pictures(w)
    return {
        "perceptual": float(studio.compare(w.roll(1, 0), pictures).perceptual.mean()),
        "squared_distance": {
            name: float((codes - codes.roll(1, 0)).square().mean())
            for name, codes in ((name, space.codes(w)[0]) for name, space in spaces.items())
        },
    }


def _plain(value: Any) -> Any:  # noqa: ANN401
    """What JSON can hold, at four digits; null for what is no number."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value


def _progress(stage: str) -> None:
    print(f"edits: {stage}", file=sys.stderr, flush=True)
