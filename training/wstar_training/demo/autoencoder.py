"""Joint training of the demo world's generator and encoder as an autoencoder of rendered faces."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar_training import checkpoint
from wstar_training.demo.pictures import PictureSet
from wstar_training.models.encoder import DemoEncoder
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.stylegan2 import Generator

RESOLUTION = 64
CHANNELS = {4: 128, 8: 128, 16: 112, 32: 80, 64: 48}
_BOX_WEIGHT = 4.0
# Eyes and mouth in fractions of the side (top, bottom, left, right): faces are aligned.
_BOXES = ((0.38, 0.56, 0.22, 0.78), (0.64, 0.82, 0.30, 0.70))


@dataclass(frozen=True)
class AutoencoderOptions:
    """Settings of the autoencoder's training.

    images: pictures seen in all; the rate is constant for the first half, then falls as a cosine.
    batch: pictures per step. generator_rate, encoder_rate: Adam's learning rates.
    perceptual_weight: weight of the perceptual distance, from `perceptual_from` of the way on.
    ema_images: half-life, in pictures, of the averaged weights that are kept.
    compile: use torch.compile (needs a C++ compiler; 2x faster on CPUs with bf16).
    """

    images: int
    batch: int = 16
    generator_rate: float = 6e-3
    encoder_rate: float = 1e-3
    perceptual_weight: float = 0.1
    perceptual_from: float = 0.5
    ema_images: int = 4000
    compile: bool = False
    save_every_s: float = 120.0
    seed: int = 0


class Autoencoder(nn.Module):
    """G(E(x)): pictures (N, 3, 64, 64) in [-1, 1] to pictures of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = DemoEncoder(RESOLUTION)
        self.generator = Generator(RESOLUTION, CHANNELS, noise_per_channel=True)
        for layer in (self.generator.conv1, *self.generator.convs):
            nn.init.constant_(layer.noise.weight, 0.1)

    def forward(self, picture: Tensor) -> Tensor:
        """Reconstruct."""
        reconstruction: Tensor = self.generator(self.encoder(picture))
        return reconstruction


def build(path: Path) -> Autoencoder:
    """The networks of a file written by `train`, float32, in evaluation mode."""
    model = Autoencoder()
    model.load_state_dict(checkpoint.load(path)["ema"])
    return model.eval().requires_grad_(False)


def _box_weights() -> Tensor:
    """Weights (1, 1, 64, 64) with mean 1, heavier in the eye and mouth boxes."""
    weights = torch.ones(1, 1, RESOLUTION, RESOLUTION)
    for top, bottom, left, right in _BOXES:
        rows = slice(int(top * RESOLUTION), int(bottom * RESOLUTION))
        weights[:, :, rows, int(left * RESOLUTION) : int(right * RESOLUTION)] = _BOX_WEIGHT
    return weights / weights.mean()


def pixel_loss(found: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Weighted L1 at full, half and quarter size, (N, 3, 64, 64) both."""
    error = found - wanted
    loss = (weights * error.abs()).mean()
    for size in (2, 4):
        pooled = functional.avg_pool2d(error, size).abs()
        loss = loss + (functional.avg_pool2d(weights, size) * pooled).mean()
    return loss


def psnr(model: Autoencoder, pictures: PictureSet, count: int) -> float:
    """Mean PSNR in dB of the first `count` pictures' reconstructions, on [0, 255]."""
    return float(np.mean(psnr_each(model, pictures, count)))


@torch.no_grad()
def psnr_each(model: Autoencoder, pictures: PictureSet, count: int) -> np.ndarray[Any, Any]:
    """PSNR in dB of each of the first `count` reconstructions, float64 (count,)."""
    found = []
    for start in range(0, count, 100):
        x = pictures.batch(np.arange(start, min(start + 100, count)))
        error = (model(x).clamp(-1, 1) - x).square().mean((1, 2, 3)) / 4.0
        found.append(-10.0 * torch.log10(error).double().numpy())
    return np.concatenate(found)


def train(
    run: Path,
    options: AutoencoderOptions,
    pictures: PictureSet,
    validation: PictureSet,
    judge: PerceptualDistance | None,
) -> Autoencoder:
    """Train or resume in `run`, and write the averaged networks to `autoencoder.pt`.

    Beside it grow a log (`.jsonl`) and, until the end, the state to resume from (`.state`).

    Raises
    ------
    CheckpointError: the state to resume from cannot be read.
    FloatingPointError: the loss is no longer finite; the state on disk is the last good one.
    """
    torch.manual_seed(options.seed)
    path = run / "autoencoder.pt"
    state_path, log_path = path.with_suffix(".state"), path.with_suffix(".jsonl")
    model, averaged = Autoencoder(), Autoencoder()
    averaged.load_state_dict(model.state_dict())
    optimizer = torch.optim.Adam(
        [
            {"params": model.generator.parameters(), "lr": options.generator_rate},
            {"params": model.encoder.parameters(), "lr": options.encoder_rate},
        ],
        betas=(0.9, 0.99),
    )
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    seen = 0
    if state_path.exists():
        state = checkpoint.load(state_path)
        model.load_state_dict(state["model"])
        averaged.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        seen = state["seen"]
        print(f"autoencoder: resuming at {seen} of {options.images} pictures")
    weights = _box_weights()
    forward = torch.compile(model) if options.compile else model
    shuffle = np.random.default_rng([options.seed, seen])
    order: np.ndarray[Any, np.dtype[np.int64]] = np.empty(0, np.int64)
    loss_sum, steps, reported, saved = 0.0, 0, time.monotonic(), time.monotonic()

    while seen < options.images:
        # The rate: constant for half of the way, then a cosine to 0.
        way = seen / options.images
        factor = 1.0 if way < 0.5 else 0.5 * (1 + math.cos(math.pi * (2 * way - 1)))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor

        # One step on a batch of an epoch-wise shuffled order.
        if len(order) < options.batch:
            order = shuffle.permutation(len(pictures))
        rows, order = order[: options.batch], order[options.batch :]
        x = pictures.batch(np.sort(rows))
        with torch.autocast("cpu", torch.bfloat16):
            y = forward(x)
        loss = pixel_loss(y.float(), x, weights)
        if judge is not None and way >= options.perceptual_from:
            loss = loss + options.perceptual_weight * judge(y.float(), x).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        seen += len(rows)
        steps += 1
        loss_sum += loss.item()

        # The average of the weights, by the half-life in pictures.
        decay = 0.5 ** (len(rows) / min(options.ema_images, max(seen / 10, 1)))
        with torch.no_grad():
            for kept, current in zip(averaged.parameters(), model.parameters(), strict=True):
                kept.lerp_(current, 1.0 - decay)

        # Report and save.
        now = time.monotonic()
        if now - saved > options.save_every_s or seen >= options.images:
            if not math.isfinite(loss_sum):
                raise FloatingPointError(
                    f"autoencoder: the loss is not finite; {state_path} holds the last good state"
                )
            line = {
                "seen": seen,
                "loss": loss_sum / steps,
                "psnr_db": psnr(averaged, validation, min(300, len(validation))),
                "ms_per_image": (now - reported) / (steps * options.batch) * 1e3,
            }
            with log_path.open("a") as log:
                log.write(json.dumps(line) + "\n")
            print("autoencoder:", json.dumps(line), flush=True)
            state = {
                "model": model.state_dict(),
                "ema": averaged.state_dict(),
                "optimizer": optimizer.state_dict(),
                "seen": seen,
            }
            checkpoint.save(state_path, state)
            loss_sum, steps, reported, saved = 0.0, 0, time.monotonic(), time.monotonic()

    # Half precision halves the file; all that follows is made from the rounded weights.
    checkpoint.save(path, {"ema": {k: v.half() for k, v in averaged.state_dict().items()}})
    state_path.unlink(missing_ok=True)
    return build(path)
