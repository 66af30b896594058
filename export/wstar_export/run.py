"""A finished training run as export sees it: networks in evaluation mode, and real data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.errors import CheckpointError
from wstar.graphs import W_DIM, Space, n_latent
from wstar.space import QUANTILES
from wstar_training import checkpoint
from wstar_training.checkpoint import NETWORKS_FILE
from wstar_training.models.absolute import Encoder
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.encoder import DemoEncoder, encoder_from_state
from wstar_training.models.flow import Flow, flow_from_checkpoint
from wstar_training.models.stylegan2 import Generator, generator_from_state
from wstar_training.models.weights import load_encoder, load_generator

FLOW_FILES = {Space.W_STAR: "flow.pt", Space.W_STAR_ID: "flow_id.pt"}
# Faces that trained none of the networks measure the graphs.
_SPLIT = "test"

T = TypeVar("T")


@dataclass(frozen=True)
class ReadOut:
    """The served read-out of one space and what was measured with it.

    classifiers: A float32 (K, n·512) and b, calibrated.
    quantiles: float64 (101,), squared distance of reference pairs at 0, 1, ... 100 %.
    """

    classifiers: Classifiers
    quantiles: NDArray[np.float64]
    perceptual_scale: float
    evaluation: Mapping[str, float]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """Everything a repository is made of.

    encoder: pictures float32 (N, 3, S, S) in [-1, 1] to absolute codes (N, n, 512).
    generator: codes to pictures float32 (N, 3, R, R), nominally in [-1, 1].
    pictures: uint8 (N, S, S, 3), held-out faces.
    codes: float32 (N, n, 512), W+, codes of held-out faces.
    """

    resolution: int
    encoder_side: int
    encoder: nn.Module
    generator: nn.Module
    flows: Mapping[Space, Flow]
    read_outs: Mapping[Space, ReadOut]
    pictures: NDArray[np.uint8]
    codes: Tensor


def read_run(folder: Path) -> Run:
    """Read a run folder: of the demo world, or of a researcher's own files.

    Raises
    ------
    CheckpointError: a file is missing, unreadable, or does not fit the others.
    """
    encoder, generator = _networks(folder)
    resolution = generator.resolution
    n = n_latent(resolution)
    flows = {Space.W_PLUS: Flow([], torch.zeros(n, W_DIM), 1.0).eval().requires_grad_(False)}
    for space, name in FLOW_FILES.items():
        flows[space] = _read(folder / name, flow_from_checkpoint)
        _same(folder / name, "state.mean", (n, W_DIM), flows[space].mean.shape)
    return Run(
        resolution=resolution,
        encoder_side=encoder.side,
        encoder=encoder,
        generator=generator,
        flows=flows,
        read_outs={
            space: _read_out(folder / f"space_{space.value}.pt", n * W_DIM) for space in Space
        },
        pictures=_pictures(folder / "pictures" / f"{_SPLIT}.bytes", encoder.side),
        codes=_codes(folder / "codes.pt", n),
    )


def _read(path: Path, build: Callable[[dict[str, Any]], T]) -> T:
    """Build something from a checkpoint; errors name the file."""
    content = checkpoint.load(path)
    try:
        return build(content)
    except KeyError as error:
        raise CheckpointError(f"{path}: no {error}") from error
    except (AttributeError, CheckpointError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _networks(folder: Path) -> tuple[DemoEncoder | Encoder, Generator]:
    """E and G: the files that a run names, or the demo world's autoencoder."""
    path = folder / NETWORKS_FILE
    if not path.exists():
        return _read(folder / "autoencoder.pt", _autoencoder)
    try:
        named = json.loads(path.read_bytes())
        files = {key: (Path(value["file"]), value["sha256"]) for key, value in named.items()}
        (encoder, _), (generator, _) = files["encoder"], files["generator"]
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error!r}") from error
    for file, wanted in files.values():
        if (found := checkpoint.file_sha256(file)) != wanted:
            raise CheckpointError(f"{file}: expected sha256 {wanted}, found {found}")
    found_encoder, found_generator = load_encoder(encoder), load_generator(generator)
    if found_encoder.n_latent != found_generator.n_latent:
        rows = found_generator.n_latent, found_encoder.n_latent
        raise CheckpointError(f"{encoder}: expected codes of {rows[0]} rows, found {rows[1]}")
    return found_encoder, found_generator


def _autoencoder(content: Mapping[str, Any]) -> tuple[DemoEncoder, Generator]:
    """Rebuild the averaged networks of an autoencoder."""
    generator = generator_from_state(_of(content["ema"], "generator."))
    return encoder_from_state(_of(content["ema"], "encoder."), generator.resolution), generator


def _of(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a state dict under `prefix`, which is cut off."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def _same(path: Path, key: str, expected: tuple[int, ...], found: tuple[int, ...]) -> None:
    if tuple(found) != expected:
        raise CheckpointError(f"{path}: {key}: expected shape {expected}, found {tuple(found)}")


def _read_out(path: Path, size: int) -> ReadOut:
    found = _read(
        path,
        lambda content: ReadOut(
            classifiers=Classifiers(content["weight"].float(), content["bias"].float()).eval(),
            quantiles=np.asarray(content["quantiles"], np.float64),
            perceptual_scale=float(content["perceptual_scale"]),
            evaluation=dict(content["evaluation"]),
            labels=dict(content["labels"]),
        ),
    )
    _same(path, "weight", (len(ATTRIBUTES), size), found.classifiers.weight.shape)
    _same(path, "bias", (len(ATTRIBUTES),), found.classifiers.bias.shape)
    _same(path, "quantiles", (QUANTILES,), found.quantiles.shape)
    return found


def _pictures(path: Path, side: int) -> NDArray[np.uint8]:
    """Map a file of raw uint8 (S, S, 3) pictures, one after the other."""
    try:
        pixels = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable picture file: {error}") from error
    picture_bytes = side * side * 3
    count = len(pixels) // picture_bytes
    if not count:
        raise CheckpointError(f"{path}: no picture of {side} x {side} px")
    return pixels[: count * picture_bytes].reshape(count, side, side, 3)


def _codes(path: Path, n: int) -> Tensor:
    codes: Tensor = _read(path, lambda content: content["w"][_SPLIT].float())
    _same(path, f"w.{_SPLIT}", (len(codes), n, W_DIM), codes.shape)
    if len(codes) < 2 or not codes.isfinite().all():
        raise CheckpointError(f"{path}: w.{_SPLIT}: expected finite codes of 2 faces or more")
    return codes
