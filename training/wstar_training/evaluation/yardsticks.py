"""What every T of a study is measured against, made once: trials, perceptual distances, ceilings.

Networks look at thousands of pictures here, and free networks are trained on the codes; none of it
depends on T. It is kept in `yardsticks.pt` of the run, with hashes of what it was made from.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.evaluation.agreement import Distances, Drawn
from wstar_training.evaluation.ceiling import train_ceiling
from wstar_training.evaluation.metrics import draw_trials
from wstar_training.evaluation.probes import Answers, Faces, free_mlp, svm
from wstar_training.evaluation.space import perceptual_distances, point_distances
from wstar_training.learning.codes import regenerated
from wstar_training.learning.loop import FlowData
from wstar_training.models.flow import Flow
from wstar_training.readout.fitted import Bools
from wstar_training.study.flow import flow_data
from wstar_training.study.stages import CodeSplit, Study

TARGETS = ("input", "regenerated")
SPLITS: tuple[CodeSplit, ...] = ("test", "flow")

_FILE = "yardsticks.pt"
_FORMAT = 2
# Pictures whose distances are measured, pairs and triplets of them, and the rounds they may take.
_PICTURES = 4000
_TRIALS = 10_000
_ROUNDS = 20
# The paper fits its SVMs on four fifths of 15000 codes.
_FIT_CODES = 12_000
_OWN_CODES = 50_000

_ANSWERS = ("free_probe", "free_all", "linear_all")

Key = tuple[CodeSplit, str]


@dataclass(frozen=True)
class Yardsticks:
    """Trials and what they should come out as, by split and target.

    drawn: trials by split: the same pairs of rows, redrawn by other seeds.
    perceptual: distances by the judge. free: by a free network that imitates them (`ceiling`).
    free_probe: attributes of the split `test` by a free network, fitted on the codes that the SVMs
        are fitted on. free_all: fitted on those that T was trained on as well. linear_all: by SVMs
        in W+ fitted on all these, as many labels as reach an SVM in W* through T.
    """

    drawn: Mapping[CodeSplit, Drawn]
    perceptual: Mapping[Key, Distances]
    free: Mapping[Key, Distances]
    free_probe: Answers
    free_all: Answers
    linear_all: Answers


@dataclass(frozen=True)
class ProbeFaces:
    """Faces of one space: that fit the probes, that are asked about, and T's own, cut likewise."""

    fit: Faces
    test: Faces
    own_fit: Faces
    own_test: Faces


@torch.no_grad()
def probe_faces(study: Study, flow: Flow, dci_axes: bool = False) -> ProbeFaces:
    """Coordinates and attributes in the space of a flow.

    Coordinates are those that the flow acts on. With `dci_axes` they are those of W+ instead, on
    which flows of any layout can be compared.
    """

    def rows(split: CodeSplit, start: int, stop: int) -> tuple[Tensor, Bools]:
        return study.codes.w[split][start:stop], study.attributes(split)[start:stop]

    def faces(w: Tensor, attributes: Bools) -> Faces:
        if dci_axes and not same_axes(study, flow):
            y = study.flow(Space.W_PLUS).coordinates(flow(w))
        else:
            y = flow.map(flow.coordinates(w))
        return Faces(y.flatten(1).numpy(), attributes)

    w, attributes = study.probes()
    w, attributes = w[:_FIT_CODES], attributes[:_FIT_CODES]
    fit, test = len(w), len(study.codes.w["test"])
    own = min(fit + test, study.trained)
    cut = max(1, own * fit // (fit + test))
    return ProbeFaces(
        faces(w, attributes),
        faces(*rows("test", 0, test)),
        faces(*rows("flow", 0, cut)),
        faces(*rows("flow", cut, own)),
    )


@torch.no_grad()
def labelled(study: Study, flow: Flow, fit: Faces) -> Faces:
    """Labelled faces that are not asked about: T's own, and those that fit the probes.

    Of T's own at most 50 000: they are held several times over.
    """
    rows = slice(0, min(study.trained, _OWN_CODES))
    own = flow.map(flow.coordinates(study.codes.w["flow"][rows])).flatten(1).numpy()
    return Faces(
        np.concatenate([own, fit.y]),
        np.concatenate([study.attributes("flow")[rows], fit.attributes]),
    )


def same_axes(study: Study, flow: Flow) -> bool:
    """Whether a flow acts on the coordinates of the study."""
    basis = study.codes.axes.basis
    if basis is None or flow.basis is None:
        return basis is flow.basis
    return basis.shape == flow.basis.shape and bool(torch.equal(basis, flow.basis))


def yardsticks(study: Study) -> Yardsticks:
    """Read what the run keeps, or make and keep it."""
    count = min(len(study.codes.w["test"]), study.trained, _PICTURES)
    rounds = min(_ROUNDS, math.ceil(_TRIALS / max(1, count // 3 - count // 64)))
    trials = draw_trials(count, rounds, seed=0).first(_TRIALS, _TRIALS)
    drawn = {split: Drawn(trials, count, seed) for seed, split in enumerate(SPLITS)}
    made_from = {
        "format": str(_FORMAT),
        "trials": f"{count} {rounds} {_TRIALS}",
        "steps": str(study.ceiling_steps),
        **{name: checkpoint.file_sha256(study.path(name)) for name in ("codes.pt", "features.pt")},
    }
    path = study.path(_FILE)
    content = checkpoint.load(path) if path.exists() else {}
    if content.get("made_from") != made_from:
        content = {"made_from": made_from, **_made(study, drawn)}
        checkpoint.save(path, content)
    truth = study.attributes("test")

    def distances(name: str) -> dict[Key, Distances]:
        found = {}
        for split in SPLITS:
            for target in TARGETS:
                kept = content[name][f"{split} {target}"]
                found[split, target] = Distances(kept["pairs"].numpy(), kept["candidates"].numpy())
        return found

    return Yardsticks(
        drawn,
        distances("perceptual"),
        distances("free"),
        *(Answers(content[name].numpy(), truth) for name in _ANSWERS),
    )


def _made(study: Study, drawn: Mapping[CodeSplit, Drawn]) -> dict[str, Any]:
    """Measure and train; tensors by name."""
    factor = study.perceptual_scale / study.judge.scale
    perceptual, free = {}, {}
    for target in TARGETS:
        for split in SPLITS:
            progress(f"perceptual distances, {target} pictures, split {split}")
            w = study.codes.w[split]
            generator = study.identity_path.generator
            pictures = study.faces(split) if target == "input" else regenerated(generator, w)
            found = perceptual_distances(study.judge, pictures, drawn[split].trials)
            perceptual[f"{split} {target}"] = _kept(found, factor)
        progress(f"free network for distances of {target} pictures")
        data, validation = (_flat(part) for part in flow_data(study, target))
        network = train_ceiling(data, validation, study.ceiling_steps)
        unit = data.distances.mean
        for split in SPLITS:
            w = study.codes.w[split][: drawn[split].count]
            with torch.no_grad():
                z = network(study.flow(Space.W_PLUS).coordinates(w).flatten(1)).numpy()
            found = point_distances(z, drawn[split].trials, unit)
            free[f"{split} {target}"] = _kept(found, 1.0)
    faces = probe_faces(study, study.flow(Space.W_PLUS))
    progress("free network for attributes, on the codes of the probes")
    probe = free_mlp(faces.fit, faces.test, study.ceiling_steps)
    progress("free network for attributes, on T's codes too")
    everything = labelled(study, study.flow(Space.W_PLUS), faces.fit)
    progress("SVMs in W+ on T's codes too")
    linear = svm(everything, faces.test)
    return {
        "perceptual": perceptual,
        "free": free,
        "free_probe": torch.from_numpy(probe.decision),
        "free_all": torch.from_numpy(
            free_mlp(everything, faces.test, study.ceiling_steps).decision
        ),
        "linear_all": torch.from_numpy(linear.decision),
    }


def _flat(data: FlowData) -> FlowData:
    """Coordinates of whole codes, whatever the layout."""
    return replace(data, x=data.x.flatten(1))


def _kept(found: Distances, factor: float) -> dict[str, torch.Tensor]:
    return {
        "pairs": torch.from_numpy(factor * found.pairs),
        "candidates": torch.from_numpy(factor * found.candidates),
    }


def progress(stage: str) -> None:
    """Say what is measured next, beside the tables that go to standard output."""
    print(f"evaluation: {stage}", file=sys.stderr, flush=True)
