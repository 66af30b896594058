"""The networks that look at demo pictures: perceptual judge, identity network and referee.

All are narrow VGGs trained here on rendered faces. The judge defines the perceptual distance T
learns; the identity network is F of eq. 4. Two only measure: the referee, which reads attributes,
and the identity referee, of another seed and width than F and trained on other people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar.attributes import ATTRIBUTES
from wstar_training import checkpoint
from wstar_training.demo.pictures import PictureSet, to_float
from wstar_training.demo.population import sample, vary
from wstar_training.demo.renderer import render
from wstar_training.demo.tap_weights import balanced_tap_weights
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.vgg import VGG16

EMBEDDING = 128
_POOLED = 2


@dataclass(frozen=True)
class JudgeOptions:
    """Settings of one network's training: pictures seen in all, batch, peak rate, width, seed."""

    images: int
    batch: int = 32
    peak_rate: float = 3e-3
    width: int = 8
    seed: int = 0


class FaceNetwork(nn.Module):
    """VGG features of a 64 px picture, flattened, then one linear layer to `outputs` numbers."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.width = width
        self.vgg = VGG16(width, batch_norm=True)
        self.head = nn.Linear(self.vgg.out_channels * _POOLED**2, outputs)

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, 3, 64, 64) in [-1, 1] to (N, outputs)."""
        out: Tensor = self.head(self.vgg(picture).flatten(1))
        return out


class IdentityNetwork(nn.Module):
    """F: pictures (N, 3, 64, 64) in [-1, 1] to unit vectors (N, 128), near for one person."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.network = FaceNetwork(width, EMBEDDING)

    def forward(self, picture: Tensor) -> Tensor:
        """Embed."""
        return functional.normalize(self.network(picture), dim=1)


def _schedule(optimizer: torch.optim.Optimizer, options: JudgeOptions) -> Any:  # noqa: ANN401
    steps = math.ceil(options.images / options.batch)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, options.peak_rate, total_steps=steps)


def train_attributes(name: str, options: JudgeOptions, pictures: PictureSet) -> FaceNetwork:
    """Train on the 40 attributes by binary cross entropy; `name` labels the progress."""
    torch.manual_seed(options.seed)
    network = FaceNetwork(options.width, len(ATTRIBUTES))
    optimizer = torch.optim.AdamW(network.parameters(), options.peak_rate, weight_decay=1e-2)
    schedule = _schedule(optimizer, options)
    rng = np.random.default_rng(options.seed)
    steps = math.ceil(options.images / options.batch)
    for step in range(steps):
        rows = np.sort(rng.integers(len(pictures), size=options.batch))
        wanted = torch.from_numpy(pictures.attributes[rows]).float()
        loss = functional.binary_cross_entropy_with_logits(network(pictures.batch(rows)), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"{name}: step {step}/{steps}, loss {loss.item():.4f}", flush=True)
    return network.eval()


def train_identity(name: str, options: JudgeOptions, people: int, views: int) -> IdentityNetwork:
    """Train F to tell `people` apart from `views` pictures each (scaled cosine softmax).

    Another seed draws other people; `name` labels the progress.

    Pictures are rendered here: the same bones, skin and hair under another pose, light,
    expression and accessories (CosFace, Wang et al. 2018, without margin).
    """
    torch.manual_seed(options.seed)
    crowd = sample(1000 + options.seed, people)
    drawn = np.stack([render(vary(crowd, 2000 + view)) for view in range(views)])
    network = IdentityNetwork(options.width)
    centres = nn.Parameter(torch.randn(people, EMBEDDING))
    parameters = [*network.parameters(), centres]
    optimizer = torch.optim.AdamW(parameters, options.peak_rate, weight_decay=1e-2)
    schedule = _schedule(optimizer, options)
    rng = np.random.default_rng(options.seed)
    steps = math.ceil(options.images / options.batch)
    for step in range(steps):
        who = rng.integers(people, size=options.batch)
        x = to_float(torch.from_numpy(drawn[rng.integers(views, size=options.batch), who]))
        cosine = network(x) @ functional.normalize(centres, dim=1).T
        loss = functional.cross_entropy(16.0 * cosine, torch.from_numpy(who))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"{name}: step {step}/{steps}, loss {loss.item():.4f}", flush=True)
    return network.eval()


@torch.no_grad()
def verification_accuracy(network: IdentityNetwork, people: int) -> float:
    """Share of new people whose second view is nearer to their first than a stranger's is."""
    crowd = sample(900, people)
    first, second = (
        network(to_float(torch.from_numpy(render(vary(crowd, 3000 + view))))) for view in range(2)
    )
    own = (first * second).sum(1)
    stranger = (first * second.roll(1, 0)).sum(1)
    return float((own > stranger).double().mean())


def save_judge(path: Path, network: FaceNetwork, pictures: PictureSet, scale: float) -> None:
    """Write the judge with tap weights under which random pairs have mean distance `scale`."""
    weights = balanced_tap_weights(network.vgg, pictures.batch(np.arange(min(512, len(pictures)))))
    content = {
        "width": network.width,
        "state": network.state_dict(),
        "scale": scale,
        "tap_weights": list(weights),
    }
    checkpoint.save(path, content)


def load_judge(path: Path) -> PerceptualDistance:
    """The perceptual distance of the demo world."""
    content = checkpoint.load(path)
    network = FaceNetwork(content["width"], len(ATTRIBUTES))
    network.load_state_dict(content["state"])
    return PerceptualDistance(network.vgg, content["scale"], tuple(content["tap_weights"]))


def save_identity(path: Path, network: IdentityNetwork) -> None:
    """Write F."""
    content = {"width": network.network.width, "state": network.state_dict()}
    checkpoint.save(path, content)


def load_identity(path: Path) -> IdentityNetwork:
    """F, frozen, in evaluation mode."""
    content = checkpoint.load(path)
    network = IdentityNetwork(content["width"])
    network.load_state_dict(content["state"])
    return network.eval().requires_grad_(False)


def save_referee(path: Path, network: FaceNetwork) -> None:
    """Write the referee."""
    checkpoint.save(path, {"width": network.width, "state": network.state_dict()})


def load_referee(path: Path) -> FaceNetwork:
    """The independent attribute classifier, frozen, in evaluation mode."""
    content = checkpoint.load(path)
    network = FaceNetwork(content["width"], len(ATTRIBUTES))
    network.load_state_dict(content["state"])
    return network.eval().requires_grad_(False)
