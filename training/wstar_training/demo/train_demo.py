"""The demo world from nothing: every stage in order, each skipped when its file exists.

A run folder holds it all. A killed run goes on where it stopped; to make a stage again, delete
its file and those of the stages after it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from wstar.attributes import ATTRIBUTES
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.demo import autoencoder, judges
from wstar_training.demo.pictures import PictureSet, Split, picture_set
from wstar_training.demo.sizes import Sizes
from wstar_training.editing.readout import editing_readout
from wstar_training.evaluation.probes import Faces
from wstar_training.learning.codes import (
    Batch,
    Codes,
    compose,
    load_codes,
    over_batches,
    save_codes,
)
from wstar_training.learning.config import FlowOptions
from wstar_training.learning.objective import IdentityPath
from wstar_training.models.encoder import DemoEncoder
from wstar_training.models.flow import Flow
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.readout.fitted import Bools, Readout
from wstar_training.study.stages import CodeSplit, Study, flow_stages, make


@dataclass(frozen=True)
class World(Study):
    """A run folder and the settings of what is made in it.

    compile: train the autoencoder through torch.compile (needs a C++ compiler).
    """

    run: Path
    sizes: Sizes
    compile: bool = False

    made_for_edits = True
    labels = {"world": "demo world: procedural faces, networks trained from nothing"}

    def pictures(self, split: Split) -> PictureSet:
        """A split, drawn on first use."""
        return picture_set(self.run / "pictures", split, self.sizes.pictures[split])

    def attributes(self, split: CodeSplit) -> Bools:
        """What was drawn."""
        return self.pictures(split).attributes

    def faces(self, split: CodeSplit) -> Batch:
        """The drawn faces, 64 px."""
        return self.pictures(split).batch

    @cached_property
    def judge(self) -> PerceptualDistance:
        """The perceptual judge at its own scale."""
        return judges.load_judge(self.path("judge.pt"))

    @cached_property
    def autoencoder(self) -> autoencoder.Autoencoder:
        """E and G."""
        return autoencoder.build(self.path("autoencoder.pt"))

    @cached_property
    def codes(self) -> Codes:
        """Codes of the splits `flow`, `probe` and `test`."""
        return load_codes(self.path("codes.pt"))

    def probes(self) -> tuple[Tensor, Bools]:
        """With faces that nothing else is made from."""
        w, attributes = super().probes()
        drawn = self.pictures("further").attributes
        return torch.cat([w, self._further]), np.concatenate([attributes, drawn])

    @cached_property
    def _further(self) -> Tensor:
        """Codes of those faces, encoded on first use and anew beside other codes."""
        path, beside = self.path("further.pt"), checkpoint.file_sha256(self.path("codes.pt"))
        if not path.exists() or checkpoint.load(path).get("beside") != beside:
            checkpoint.save(path, {"w": _encoded(self, "further"), "beside": beside})
        further: Tensor = checkpoint.load(path)["w"]
        return further

    @property
    def identity_path(self) -> IdentityPath:
        """G, and the network that learned to tell people apart."""
        identity = judges.load_identity(self.path("identity.pt"))
        return IdentityPath(self.autoencoder.generator, identity)

    @property
    def encoder(self) -> DemoEncoder:
        """That of the autoencoder."""
        return self.autoencoder.encoder

    @property
    def referee(self) -> judges.FaceNetwork:
        """The independent attribute classifier."""
        return judges.load_referee(self.path("referee.pt"))

    @property
    def identity_referee(self) -> judges.IdentityNetwork:
        """Another network that learned to tell people apart, other people than F's."""
        return judges.load_identity(self.path("identity_referee.pt"))

    @property
    def flow_options(self) -> Mapping[Space, FlowOptions]:
        """Those of the size."""
        return {Space.W_STAR: self.sizes.flow, Space.W_STAR_ID: self.sizes.flow_id}

    @property
    def sketch(self) -> int:
        """That of the size."""
        return self.sizes.sketch

    @property
    def chosen_scale(self) -> None:
        """Matched: its judge has no scale that anyone would know."""
        return None

    @property
    def held_out(self) -> int:
        """That of the size."""
        return self.sizes.held_out

    @property
    def penalty(self) -> float:
        """That of the size."""
        return self.sizes.penalty

    @property
    def ceiling_steps(self) -> int:
        """That of the size."""
        return self.sizes.ceiling_steps

    @property
    def edited(self) -> tuple[str, ...]:
        """Those of the size."""
        return self.sizes.edited

    def editing_readout(self, flow: Flow) -> Readout:
        """A read-out for editing in a space, its penalties chosen by what the judge sees."""
        # The judge's attribute head: trained on drawn faces, and not the referee that evaluates.
        judge = judges.load_referee(self.path("judge.pt"))
        faces = Faces(self.moved(flow), self.attributes("probe"))
        sizes, generator = self.sizes, self.autoencoder.generator
        readout, chosen = editing_readout(
            flow, faces, self.codes.w["probe"], generator, judge, sizes.edit_penalties,
            sizes.chosen_by,
        )  # fmt: skip
        print("penalties:", dict(zip(ATTRIBUTES, chosen.tolist(), strict=True)), file=sys.stderr)
        return readout


def build(world: World) -> None:
    """Make whatever of the demo world is not there yet, up to the served read-outs."""
    for file, stage in (
        ("judge.pt", _judge),
        ("identity.pt", _identity),
        ("referee.pt", _referee),
        ("identity_referee.pt", _identity_referee),
        ("autoencoder.pt", _autoencoder),
        ("codes.pt", _codes),
    ):
        make(world, file, partial(stage, world))
    for file, following in flow_stages(world):
        make(world, file, following)


def _judge(world: World) -> None:
    network = judges.train_attributes("judge", world.sizes.judge, world.pictures("networks"))
    judges.save_judge(world.path("judge.pt"), network, world.pictures("validation"), scale=10.0)


def _identity(world: World) -> None:
    _tell_people_apart(world, "identity", world.sizes.identity)


def _identity_referee(world: World) -> None:
    _tell_people_apart(world, "identity_referee", world.sizes.identity_referee)


def _tell_people_apart(world: World, name: str, options: judges.JudgeOptions) -> None:
    people, views = world.sizes.identity_people, world.sizes.identity_views
    network = judges.train_identity(name, options, people, views)
    told = judges.verification_accuracy(network, people // 4)
    print(f"{name}: {told:.1%} of new people are nearer to themselves than a stranger is")
    judges.save_identity(world.path(f"{name}.pt"), network)


def _referee(world: World) -> None:
    network = judges.train_attributes("referee", world.sizes.referee, world.pictures("networks"))
    judges.save_referee(world.path("referee.pt"), network)


def _autoencoder(world: World) -> None:
    options = replace(world.sizes.autoencoder, compile=world.compile)
    pictures, validation = world.pictures("networks"), world.pictures("validation")
    autoencoder.train(world.run, options, pictures, validation, world.judge)


def _codes(world: World) -> None:
    splits: tuple[CodeSplit, ...] = get_args(CodeSplit)
    w: dict[str, Tensor] = {split: _encoded(world, split) for split in splits}
    save_codes(world.path("codes.pt"), w, "flow", world.sizes.axes)


def _encoded(world: World, split: Split) -> Tensor:
    pictures = world.pictures(split)
    return over_batches(len(pictures), compose(world.autoencoder.encoder, pictures.batch))
