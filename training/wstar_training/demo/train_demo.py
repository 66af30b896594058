"""The demo world from nothing: every stage in order, each skipped when its file exists.

A run folder holds it all. A killed run goes on where it stopped; to make a stage again, delete
its file and those of the stages after it.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wstar.attributes import ATTRIBUTES
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.codes import (
    Codes,
    compose,
    load_codes,
    matching_scale,
    over_batches,
    regenerated,
    save_codes,
    sketched_features,
)
from wstar_training.config import FlowOptions
from wstar_training.demo import autoencoder, judges
from wstar_training.demo.pictures import PictureSet, Split, picture_set
from wstar_training.demo.sizes import Sizes
from wstar_training.directions import calibrated_readout, distance_quantiles, save_readout
from wstar_training.edit_readout import editing_readout
from wstar_training.loop import FlowData, IdentityPath, load_flow, train
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow
from wstar_training.perceptual import PerceptualDistance
from wstar_training.pretrain import Readout, fit_readout, on_codes, on_coordinates
from wstar_training.probes import Faces

LABELS = {"world": "demo world: procedural faces, networks trained from nothing"}


@dataclass(frozen=True)
class World:
    """A run folder and the settings of what is made in it.

    compile: train the autoencoder through torch.compile (needs a C++ compiler).
    """

    run: Path
    sizes: Sizes
    compile: bool = False

    def path(self, name: str) -> Path:
        """A file of the run."""
        return self.run / name

    def pictures(self, split: Split) -> PictureSet:
        """A split, drawn on first use."""
        return picture_set(self.run / "pictures", split, self.sizes.pictures[split])

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

    @property
    def trained(self) -> int:
        """How many codes of the split `flow` T is trained on; the rest validates it."""
        return self.sizes.pictures["flow"] - self.sizes.held_out

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

        `target` is "input" (rendered pictures), "regenerated" (their reconstructions) or "both":
        features whose squared distance is the mean of the two.
        """
        content = checkpoint.load(self.path("features.pt"))
        if target != "both":
            features: Tensor = content[target]
            return features
        return _both(content["input"], content["regenerated"])

    def editing_readout(self, flow: Flow) -> Readout:
        """A read-out for editing in a space, its penalties chosen by what the judge sees."""
        w = self.codes.w["probe"]
        with torch.no_grad():
            y = flow.map(flow.coordinates(w)).numpy()
        # The judge's attribute head: trained on drawn faces, and not the referee that evaluates.
        judge = judges.load_referee(self.path("judge.pt"))
        faces = Faces(y, self.pictures("probe").attributes)
        sizes, generator = self.sizes, self.autoencoder.generator
        readout, chosen = editing_readout(
            flow, faces, w, generator, judge, sizes.edit_penalties, sizes.chosen_by
        )
        print("penalties:", dict(zip(ATTRIBUTES, chosen.tolist(), strict=True)), file=sys.stderr)
        return readout

    @property
    def perceptual_scale(self) -> float:
        """Scale of the perceptual distance that T learns and that is served."""
        return float(checkpoint.load(self.path("features.pt"))["scale"])


def build(world: World) -> None:
    """Make whatever of the demo world is not there yet, up to the served read-outs."""
    for file, make in (
        ("judge.pt", _judge),
        ("identity.pt", _identity),
        ("referee.pt", _referee),
        ("autoencoder.pt", _autoencoder),
        ("codes.pt", _codes),
        ("features.pt", _features),
        ("classifiers.pt", _classifiers),
        ("flow.pt", _flow),
        ("flow_id.pt", _flow_id),
    ):
        _stage(world, file, make)
    for space in Space:
        _stage(world, world.readout_path(space).name, partial(_readout, space))


def _stage(world: World, file: str, make: Callable[[World], None]) -> None:
    if world.path(file).exists():
        print(f"{file}: there")
        return
    started = time.monotonic()
    print(f"{file}: making", flush=True)
    make(world)
    print(f"{file}: made in {time.monotonic() - started:.0f} s", flush=True)


def _judge(world: World) -> None:
    network = judges.train_attributes("judge", world.sizes.judge, world.pictures("networks"))
    judges.save_judge(world.path("judge.pt"), network, world.pictures("validation"), scale=10.0)


def _identity(world: World) -> None:
    sizes = world.sizes
    network = judges.train_identity(sizes.identity, sizes.identity_people, sizes.identity_views)
    told = judges.verification_accuracy(network, sizes.identity_people // 4)
    print(f"identity: {told:.1%} of new people are nearer to themselves than a stranger is")
    judges.save_identity(world.path("identity.pt"), network)


def _referee(world: World) -> None:
    network = judges.train_attributes("referee", world.sizes.referee, world.pictures("networks"))
    judges.save_referee(world.path("referee.pt"), network)


def _autoencoder(world: World) -> None:
    options = replace(world.sizes.autoencoder, compile=world.compile)
    pictures, validation = world.pictures("networks"), world.pictures("validation")
    autoencoder.train(world.run, options, pictures, validation, world.judge)


def _codes(world: World) -> None:
    encoder = world.autoencoder.encoder
    splits: tuple[Split, ...] = ("flow", "probe", "test")
    w: dict[str, Tensor] = {}
    for split in splits:
        pictures = world.pictures(split)
        w[split] = over_batches(len(pictures), compose(encoder, pictures.batch))
    save_codes(world.path("codes.pt"), w, "flow", world.sizes.axes)


def _features(world: World) -> None:
    pictures, w = world.pictures("flow"), world.codes.w["flow"]
    rebuilt = regenerated(world.autoencoder.generator, w)
    size, judge = world.sizes.sketch, world.judge
    content = {
        "input": sketched_features(judge, len(w), size, pictures.batch),
        "regenerated": sketched_features(judge, len(w), size, rebuilt),
    }
    both = _both(content["input"], content["regenerated"])
    factor = matching_scale(world.codes.axes, w, both)
    content = {name: (value.float() * factor**0.5).half() for name, value in content.items()}
    checkpoint.save(world.path("features.pt"), {**content, "scale": judge.scale * factor})


def _classifiers(world: World) -> None:
    flow = world.flow(Space.W_PLUS)
    rows = slice(0, world.trained)
    x = flow.coordinates(world.codes.w["flow"][rows]).numpy()
    readout = fit_readout(x, world.pictures("flow").attributes[rows], world.sizes.penalty)
    frozen = on_codes(readout, flow)
    checkpoint.save(world.path("classifiers.pt"), {"weight": frozen.weight, "bias": frozen.bias})


def _both(given: Tensor, rebuilt: Tensor) -> Tensor:
    """Features whose squared distance is the mean of those of the two."""
    return torch.cat([given, rebuilt], 1) * math.sqrt(0.5)


def flow_data(world: World, target: str) -> tuple[FlowData, FlowData]:
    """What T trains on and what validates it, towards distances of `target`."""
    x = world.flow(Space.W_PLUS).coordinates(world.codes.w["flow"])
    attributes = torch.from_numpy(world.pictures("flow").attributes).float()
    data = FlowData(x, attributes, world.flow_features(target))
    return data.rows(slice(0, world.trained)), data.rows(slice(world.trained, None))


def _train_flow(
    world: World, file: str, options: FlowOptions, identity: IdentityPath | None
) -> None:
    torch.manual_seed(options.seed)
    flow = world.codes.axes.flow(options.couplings, options.hidden, options.seed)
    frozen = checkpoint.load(world.path("classifiers.pt"))
    classifiers = on_coordinates(Classifiers(frozen["weight"], frozen["bias"]), flow)
    # One T for both: distances of what was given and of what G makes of it.
    data, validation = flow_data(world, "both")
    train(world.path(file), options, flow, data, validation, classifiers, identity)


def _flow(world: World) -> None:
    _train_flow(world, "flow.pt", world.sizes.flow, None)


def _flow_id(world: World) -> None:
    identity = judges.load_identity(world.path("identity.pt"))
    path = IdentityPath(world.autoencoder.generator, identity)
    _train_flow(world, "flow_id.pt", world.sizes.flow_id, path)


def _readout(space: Space, world: World) -> None:
    """Refit the served hyperplanes on the split `probe`, which T has not seen."""
    flow = world.flow(space)
    with torch.no_grad():
        y = flow.map(flow.coordinates(world.codes.w["probe"])).numpy()
    if space is Space.W_STAR_ID:
        readout = world.editing_readout(flow)
    else:
        attributes = world.pictures("probe").attributes
        readout = calibrated_readout(y, attributes, world.sizes.penalty)
    save_readout(
        world.readout_path(space),
        on_codes(readout, flow),
        np.asarray(distance_quantiles(flow, y)),
        world.perceptual_scale,
        LABELS,
        evaluation={},
    )
