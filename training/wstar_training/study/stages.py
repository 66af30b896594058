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
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.learning.codes import (
    Batch,
    Codes,
    embeddings,
    matching_scale,
    regenerated,
    rendered,
    sketched_features,
)
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.distributed import ALONE, Group
from wstar_training.learning.loop import load_flow
from wstar_training.learning.objective import IdentityPath
from wstar_training.learning.supervision import Exact, Sketched
from wstar_training.models.flow import Flow
from wstar_training.models.perceptual import Judge
from wstar_training.readout.fitted import Bools, Readout, fit_readout, on_codes
from wstar_training.readout.served import calibrated_readout, distance_quantiles, save_readout
from wstar_training.study.flow import fitted_classifiers, train_flow

CodeSplit = Literal["flow", "probe", "test"]

_CEILING_STEPS = 3000

# Stages that all processes of a group work at together.
_TOGETHER = ("flow.pt", "flow_id.pt")


class Study(ABC):
    """What the stages read. Codes of the splits `flow`, `probe` and `test` are disjoint.

    run: folder that holds everything made.
    group: the processes that work at it together.
    made_for_edits: whether `editing_readout` is another read-out than `calibrated`.
    """

    run: Path
    group: Group = ALONE
    made_for_edits: ClassVar[bool] = False

    @property
    def edited(self) -> tuple[str, ...]:
        """Attributes whose edits are measured."""
        return ATTRIBUTES

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
    def judge(self) -> Judge:
        """The perceptual judge."""

    @property
    @abstractmethod
    def identity_path(self) -> IdentityPath:
        """G and F."""

    @property
    @abstractmethod
    def encoder(self) -> nn.Module:
        """E: pictures (N, 3, side, side) in [-1, 1] to w (N, n, 512); `side` is its attribute."""

    @property
    @abstractmethod
    def referee(self) -> nn.Module:
        """Pictures (N, 3, S, S) in [-1, 1] to logits (N, K); no loss has seen it."""

    @property
    @abstractmethod
    def identity_referee(self) -> nn.Module | None:
        """Pictures (N, 3, S, S) in [-1, 1] to unit vectors; no loss has seen it. None: no such."""

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
    def chosen_scale(self) -> float | None:
        """Scale of the perceptual distance; None: such that W+ has its mean (`matching_scale`)."""

    @property
    @abstractmethod
    def held_out(self) -> int:
        """Codes of the split `flow`, its last, that validate T instead of training it."""

    @property
    @abstractmethod
    def penalty(self) -> float:
        """L2 penalty of C and of the served read-outs."""

    @property
    def ceiling_steps(self) -> int:
        """Steps of the free networks that T is compared with: as many as T's, up to 3000."""
        return min(_CEILING_STEPS, self.flow_options[Space.W_STAR].steps)

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

    def probes(self) -> tuple[Tensor, Bools]:
        """Codes (N, n, 512) and attributes that an evaluation may fit probes on: `probe`, first."""
        return self.codes.w["probe"], self.attributes("probe")

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

    def embeddings(self, target: str) -> Tensor:
        """F of the split `flow`, float16 (N, E): the left side of eq. 4. Made on first use.

        `target` is "regenerated", F(G(w)) of what T sees of w, or "input", F of given pictures.
        """
        if not self.group.agreed(self.path("embeddings.pt").exists()):
            make(self, "embeddings.pt", partial(_embeddings, self))
        found: Tensor = checkpoint.load(self.path("embeddings.pt"))[target]
        return found

    def exact_distances(self, target: str) -> Exact:
        """Distances of the split `flow` by the judge itself, targets as in `flow_features`."""
        rebuilt = regenerated(self.identity_path.generator, self.codes.w["flow"])
        given = self.faces("flow")
        sets = {"input": [given], "regenerated": [rebuilt], "both": [given, rebuilt]}
        mean = Sketched(self.flow_features(target)[: self.trained]).mean
        return Exact(self.judge, sets[target], self.perceptual_scale, mean)

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
        *([("embeddings.pt", partial(_embeddings, study))] if _disturbs(study) else []),
        ("flow_id.pt", partial(_flow, study, Space.W_STAR_ID)),
        *((study.readout_path(space).name, partial(_readout, study, space)) for space in Space),
    ]


def _disturbs(study: Study) -> bool:
    """Whether eq. 5 is still to be trained: nothing else that is served needs embeddings."""
    weight = study.flow_options[Space.W_STAR_ID].identity_weight
    return weight > 0 and not study.path("flow_id.pt").exists()


def make(study: Study, file: str, stage: Callable[[], None]) -> None:
    """Run a stage unless its file is there. In a group all train T, the rest is the first one's."""
    group = study.group
    say = partial(print, flush=True) if group.first else _silent
    if group.agreed(study.path(file).exists()):
        say(f"{file}: there")
        return
    started = time.monotonic()
    say(f"{file}: making")
    if group.first or file in _TOGETHER:
        stage()
    group.wait()
    say(f"{file}: made in {time.monotonic() - started:.0f} s")


def _silent(message: str) -> None:
    """Leave speaking to the first process."""


def _features(study: Study) -> None:
    w, judge = study.codes.w["flow"], study.judge
    rebuilt = regenerated(study.identity_path.generator, w)
    content = {
        "input": sketched_features(judge, len(w), study.sketch, study.faces("flow")),
        "regenerated": sketched_features(judge, len(w), study.sketch, rebuilt),
    }
    both = _both(content["input"], content["regenerated"])
    matched = matching_scale(study.codes.axes, w, both)
    factor = matched if study.chosen_scale is None else study.chosen_scale / judge.scale
    print(
        f"perceptual distances at scale {judge.scale * factor:.4g}; at {judge.scale * matched:.4g} "
        "their mean would be that of W+",
        flush=True,
    )
    content = {name: (value.float() * factor**0.5).half() for name, value in content.items()}
    checkpoint.save(study.path("features.pt"), {**content, "scale": judge.scale * factor})


def _embeddings(study: Study) -> None:
    w, path = study.codes.w["flow"], study.identity_path
    rebuilt = rendered(path.generator, study.flow(Space.W_PLUS), w)
    content = {
        "input": embeddings(path.identity, len(w), study.faces("flow")),
        "regenerated": embeddings(path.identity, len(w), rebuilt),
    }
    checkpoint.save(study.path("embeddings.pt"), content)


def _classifiers(study: Study) -> None:
    flow, rows = study.flow(Space.W_PLUS), slice(0, study.trained)
    x = flow.coordinates(study.codes.w["flow"][rows]).flatten(1).numpy()
    frozen = on_codes(fit_readout(x, study.attributes("flow")[rows], study.penalty), flow)
    checkpoint.save(study.path("classifiers.pt"), {"weight": frozen.weight, "bias": frozen.bias})


def _flow(study: Study, space: Space) -> None:
    path = study.path(f"flow{space.suffix}.pt")
    train_flow(study, path, study.flow_options[space], fitted_classifiers(study))


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
