"""One T of a study: what it learns from, its start, and its training, put together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.loop import FlowData, train
from wstar_training.learning.record import record_start
from wstar_training.learning.supervision import Sketched
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow
from wstar_training.readout.fitted import Readout, on_coordinates

if TYPE_CHECKING:
    from wstar_training.study.stages import Study

_LEARNED_FROM = ("codes.pt", "features.pt", "classifiers.pt", "embeddings.pt")


def flow_data(
    study: Study, target: str, exact: bool = False, identity: str | None = None
) -> tuple[FlowData, FlowData]:
    """What T trains on and what validates it, towards distances of `target`.

    exact: the judge looks at the pictures of every batch; validation is by sketches anyway.
    identity: the left side of eq. 4, as `Study.embeddings` names it; None where eq. 3 is trained.
    """
    x = study.flow(Space.W_PLUS).coordinates(study.codes.w["flow"])
    attributes = torch.from_numpy(study.attributes("flow")).float()
    features, count = study.flow_features(target), study.trained
    distances = study.exact_distances(target) if exact else Sketched(features[:count])
    before = None if identity is None else study.embeddings(identity)
    train, held_out = (None, None) if before is None else (before[:count], before[count:])
    return (
        FlowData(x[:count], attributes[:count], distances, train),
        FlowData(x[count:], attributes[count:], Sketched(features[count:]), held_out),
    )


def fitted_classifiers(study: Study) -> Readout:
    """C, on the coordinates that T acts on."""
    frozen = checkpoint.load(study.path("classifiers.pt"))
    fitted = Classifiers(frozen["weight"], frozen["bias"])
    return on_coordinates(fitted, study.flow(Space.W_PLUS))


def train_flow(study: Study, path: Path, options: FlowOptions, classifiers: Readout) -> Flow:
    """Train a T of a study towards `path`, whose folder gets a record of the start."""
    torch.manual_seed(options.seed)
    flow = study.codes.axes.flow(
        options.couplings, options.hidden, options.seed, options.masks, options.tanh_t
    )
    disturbed = options.identity_weight > 0
    # One T for both: distances of what was given and of what G makes of it.
    data, validation = flow_data(
        study,
        "both",
        exact=options.perceptual == "exact",
        identity=options.identity_target if disturbed else None,
    )
    if study.group.first:
        files = [study.path(name) for name in _LEARNED_FROM if study.path(name).exists()]
        record_start(path.parent, path.stem, asdict(options), files, study.group)
    device = study.group.device
    return train(
        path,
        options,
        flow,
        data.to(device),
        validation.to(device),
        classifiers,
        study.identity_path if disturbed else None,
        study.group,
    )
