"""A study: codes, pictures and networks that T is made of, and the stages that make it.

The demo world is one study, a researcher's own files are another; what follows the codes is the
same for both. Every stage writes one file of the run folder and is skipped when that file exists.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.codes import Batch, Codes, matching_scale, regenerated, sketched_features
from wstar_training.config import FlowOptions
from wstar_training.directions import calibrated_readout, distance_quantiles, save_readout
from wstar_training.loop import FlowData, IdentityPath, load_flow, train
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.pretrain import Bools, Readout, fit_readout, on_codes, on_coordinates

CodeSplit = Literal["flow", "probe", "test"]


class Study(ABC):
    """What the stages read. Codes of the splits `flow`, `probe` and `test` are disjoint.

    run: folder that holds everything made.
    """

    run: Path

    @property
    @abstractmethod
    def codes(self) -> Codes:
        """Codes by split, and the coordinates that T acts on."""

    @abstractmethod
    def attributes(self, split: CodeSplit) -> Bools:
        """Attributes (N, K) of a split."""

    @abstractmethod
    def faces(self, split: CodeSplit) -> Batch:
        """Rows of a split to pictures float32 (N, 3, S, S) in [-1, 1]."""

    @property
    @abstractmethod
    def judge(self) -> PerceptualDistance:
        """The perceptual judge."""

    @property
    @abstractmethod
    def identity_path(self) -> IdentityPath:
        """G and F."""

    @property
    @abstractmethod
    def flow_options(self) -> Mapping[Space, FlowOptions]:
        """Settings of T by space: W_STAR and W_STAR_ID."""

    @property
    @abstractmethod
    def sketch(self) -> int:
        """Numbers kept of the features of a picture."""

    @property
    @abstractmethod
    def held_out(self) -> int:
        """Codes of the split `flow`, its last, that validate T instead of training it."""

    @property
    @abstractmethod
    def penalty(self) -> float:
        """L2 penalty of C and of the served read-outs."""

    @property
    @abstractmethod
    def labels(self) -> Mapping[str, str]:
        """What the manifests say of where this came from."""

    def editing_readout(self, flow: Flow) -> Readout:
        """The read-out served for editing."""
        return self.calibrated(flow)

    def calibrated(self, flow: Flow) -> Readout:
        """A calibrated read-out fitted in the flow's space on the split `probe`."""
        return calibrated_readout(self.moved(flow), self.attributes("probe"), self.penalty)

    @torch.no_grad()
    def moved(self, flow: Flow) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Coordinates of the split `probe` in the flow's space, (N, dim)."""
        return flow.map(flow.coordinates(self.codes.w["probe"])).flatten(1).numpy()

    def path(self, name: str) -> Path:
        """A file of the run."""
        return self.run / name

    @property
    def trained(self) -> int:
        """How many codes of the split `flow` T is trained on; the rest validates it."""
        return len(self.codes.w["flow"]) - self.held_out

    def flow(self, space: Space) -> Flow:
        """T of a space; of W_PLUS, the identity."""
        if space is Space.W_PLUS:
            return self.codes.axes.flow(0, 1, 0)
        return load_flow(self.path(f"flow{space.suffix}.pt"))

    def readout_path(self, space: Space) -> Path:
        """The file of what is served of a space."""
        return self.path(f"space_{space.value}.pt")

    def flow_features(self, target: str) -> Tensor:
        """Sketched features of the split `flow` at the perceptual scale, float16 (N, F).

        `target` is "input" (given pictures), "regenerated" (their reconstructions) or "both":
        features whose squared distance is the mean of the two.
        """
        content = checkpoint.load(self.path("features.pt"))
        if target != "both":
            features: Tensor = content[target]
            return features
        return _both(content["input"], content["regenerated"])

    @property
    def perceptual_scale(self) -> float:
        """Scale of the perceptual distance that T learns and that is served."""
        return float(checkpoint.load(self.path("features.pt"))["scale"])


def flow_stages(study: Study) -> list[tuple[str, Callable[[], None]]]:
    """The stages that follow the codes, in order, by the file each makes."""
    return [
        ("features.pt", partial(_features, study)),
        ("classifiers.pt", partial(_classifiers, study)),
        ("flow.pt", partial(_flow, study, Space.W_STAR)),
        ("flow_id.pt", partial(_flow, study, Space.W_STAR_ID)),
        *((study.readout_path(space).name, partial(_readout, study, space)) for space in Space),
    ]


def make(study: Study, file: str, stage: Callable[[], None]) -> None:
    """Run a stage unless its file is there."""
    if study.path(file).exists():
        print(f"{file}: there")
        return
    started = time.monotonic()
    print(f"{file}: making", flush=True)
    stage()
    print(f"{file}: made in {time.monotonic() - started:.0f} s", flush=True)


def flow_data(study: Study, target: str) -> tuple[FlowData, FlowData]:
    """What T trains on and what validates it, towards distances of `target`."""
    x = study.flow(Space.W_PLUS).coordinates(study.codes.w["flow"])
    attributes = torch.from_numpy(study.attributes("flow")).float()
    data = FlowData(x, attributes, study.flow_features(target))
    return data.rows(slice(0, study.trained)), data.rows(slice(study.trained, None))


def _features(study: Study) -> None:
    w, judge = study.codes.w["flow"], study.judge
    rebuilt = regenerated(study.identity_path.generator, w)
    content = {
        "input": sketched_features(judge, len(w), study.sketch, study.faces("flow")),
        "regenerated": sketched_features(judge, len(w), study.sketch, rebuilt),
    }
    both = _both(content["input"], content["regenerated"])
    factor = matching_scale(study.codes.axes, w, both)
    content = {name: (value.float() * factor**0.5).half() for name, value in content.items()}
    checkpoint.save(study.path("features.pt"), {**content, "scale": judge.scale * factor})


def _classifiers(study: Study) -> None:
    flow, rows = study.flow(Space.W_PLUS), slice(0, study.trained)
    x = flow.coordinates(study.codes.w["flow"][rows]).flatten(1).numpy()
    frozen = on_codes(fit_readout(x, study.attributes("flow")[rows], study.penalty), flow)
    checkpoint.save(study.path("classifiers.pt"), {"weight": frozen.weight, "bias": frozen.bias})


def _flow(study: Study, space: Space) -> None:
    options = study.flow_options[space]
    torch.manual_seed(options.seed)
    flow = study.codes.axes.flow(options.couplings, options.hidden, options.seed)
    frozen = checkpoint.load(study.path("classifiers.pt"))
    classifiers = on_coordinates(Classifiers(frozen["weight"], frozen["bias"]), flow)
    # One T for both: distances of what was given and of what G makes of it.
    data, validation = flow_data(study, "both")
    identity = study.identity_path if space is Space.W_STAR_ID else None
    path = study.path(f"flow{space.suffix}.pt")
    train(path, options, flow, data, validation, classifiers, identity)


def _readout(study: Study, space: Space) -> None:
    """Refit the served hyperplanes on the split `probe`, which T has not seen."""
    flow = study.flow(space)
    fit = study.editing_readout if space is Space.W_STAR_ID else study.calibrated
    save_readout(
        study.readout_path(space),
        on_codes(fit(flow), flow),
        distance_quantiles(flow, study.moved(flow)),
        study.perceptual_scale,
        study.labels,
        evaluation={},
    )


def _both(given: Tensor, rebuilt: Tensor) -> Tensor:
    """Features whose squared distance is the mean of those of the two."""
    return torch.cat([given, rebuilt], 1) * math.sqrt(0.5)
