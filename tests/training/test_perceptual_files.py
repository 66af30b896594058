"""torchvision's VGG16 files give the distances that the original network gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.vgg import PERCEPTUAL_TAPS, VGG16
from wstar_training.models.weights.perceptual import load_perceptual

Load = Callable[[str, tuple[str, ...]], tuple[dict[str, Any], dict[str, Tensor]]]

STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "ssd": ((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)),
}
NAN, INF = float("nan"), float("inf")


def narrow() -> dict[str, Tensor]:
    """The convolutions of a torchvision file, two channels wide."""
    return VGG16(2).state_dict()


def classifier(*values: float) -> dict[str, Tensor]:
    """A classifier of no use, as small as can be, around the values given."""
    return {
        "classifier.0.weight": torch.tensor([values]),
        "classifier.6.bias": torch.zeros(2),
    }


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def normalised(picture: Tensor, weights: str) -> Tensor:
    mean, std = (torch.tensor(row)[:, None, None] for row in STATISTICS[weights])
    return ((picture + 1.0) / 2.0 - mean) / std


@torch.no_grad()
def test_a_file_gives_the_taps_and_distances_of_the_original(golden: Load, tmp_path: Path) -> None:
    arrays, state = golden("vgg16", ("features.",))
    distance = load_perceptual(saved(tmp_path / "vgg16.pth", state))
    x = torch.from_numpy(arrays["x"]) * 2.0 - 1.0
    taps = distance.taps(x)
    assert tuple(taps) == PERCEPTUAL_TAPS
    for name, tap in taps.items():
        wanted = arrays[f"feat_{name}"]
        # 32 evenly spaced channels were recorded; float32 sums in another order, 1e-6 apart.
        found = tap[:, :: tap.shape[1] // 32].numpy()
        assert np.abs(found - wanted).max() < 1e-4 * wanted.std()
    recorded = dict(zip(arrays["distance_names"], arrays["distance_values"], strict=True))
    wanted = 10.0 * sum(recorded[f"{name}_mean_sq"] for name in PERCEPTUAL_TAPS)
    # The same sums, squared: twice the relative error of the taps.
    assert distance(x[:1], x[1:]).item() == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("added", "chosen", "wanted"),
    [
        ({}, "auto", "imagenet"),
        (classifier(0.0, 1.0), "auto", "imagenet"),
        (classifier(0.0, NAN), "auto", "ssd"),
        (classifier(-INF, 1.0), "auto", "ssd"),
        (classifier(0.0, 0.0), "auto", "ssd"),
        ({}, "ssd", "ssd"),
        (classifier(0.0, NAN), "imagenet", "imagenet"),
    ],
)
@torch.no_grad()
def test_pictures_are_normalised_as_the_weights_want(
    tmp_path: Path,
    added: dict[str, Tensor],
    chosen: Literal["auto", "imagenet", "ssd"],
    wanted: str,
) -> None:
    distance = load_perceptual(saved(tmp_path / "vgg.pth", narrow() | added), weights=chosen)
    assert (distance.input.mean, distance.input.std) == STATISTICS[wanted]
    picture = torch.rand(2, 3, 16, 16) * 2 - 1
    fed = normalised(picture, wanted)
    # The formula is applied to [-1, 1] directly: a few roundings of numbers near 1 apart.
    torch.testing.assert_close(distance.input(picture), fed, rtol=1e-5, atol=1e-6 / 0.225)
    for name, tap in zip(PERCEPTUAL_TAPS, distance.network.taps(fed), strict=True):
        torch.testing.assert_close(distance.taps(picture)[name], tap, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_distance_is_scaled_means_and_zero_to_itself(tmp_path: Path) -> None:
    distance = load_perceptual(saved(tmp_path / "vgg.pth", narrow()), perceptual_scale=3.0)
    x, y = torch.rand(2, 4, 3, 16, 16) * 2 - 1
    pairs = zip(distance.taps(x).values(), distance.taps(y).values(), strict=True)
    wanted = 3.0 * sum((a - b).square().mean((1, 2, 3)) for a, b in pairs)
    found = distance(x, y)
    assert found.shape == (4,) and found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=0.0)
    assert not distance(x, x).any()


@torch.no_grad()
def test_larger_pictures_are_averaged_down_to_the_side(tmp_path: Path) -> None:
    distance = load_perceptual(saved(tmp_path / "vgg.pth", narrow()), side=16)
    assert distance.input.side == 16
    large, small = torch.rand(1, 3, 64, 64) * 2 - 1, torch.rand(1, 3, 8, 8) * 2 - 1
    plain = load_perceptual(tmp_path / "vgg.pth")
    averaged = functional.avg_pool2d(large, 4)
    torch.testing.assert_close(distance.taps(large), plain.taps(averaged), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(distance.taps(small), plain.taps(small), rtol=0.0, atol=0.0)


@torch.no_grad()
def test_a_judge_trained_here_sees_pictures_as_they_are() -> None:
    network = VGG16(2, batch_norm=True)
    picture = torch.rand(2, 3, 16, 16) * 2 - 1
    taps = PerceptualDistance(network).taps(picture)
    torch.testing.assert_close(list(taps.values()), network.taps(picture), rtol=0.0, atol=0.0)


def test_only_the_picture_can_be_trained(tmp_path: Path) -> None:
    distance = load_perceptual(saved(tmp_path / "vgg.pth", narrow())).train()
    assert not any(module.training for module in distance.modules())
    assert not any(parameter.requires_grad for parameter in distance.parameters())
    x = torch.rand(1, 3, 16, 16, requires_grad=True)
    distance(x, torch.zeros(1, 3, 16, 16)).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {key: value.to(dtype) for key, value in (narrow() | classifier(1.0)).items()}
    distance = load_perceptual(saved(tmp_path / "vgg.pth", state))
    assert {p.dtype for p in distance.parameters()} == {torch.float32}
    first = distance.network.state_dict()["features.0.weight"]
    assert torch.equal(first, state["features.0.weight"].float())


FIRST, LAST = "features.0.weight", "features.28.bias"
REFUSED: dict[str, tuple[object, tuple[str, ...]]] = {
    "a StyleGAN2 file": (
        {"g_ema": {"style.1.weight": torch.zeros(1)}, "latent_avg": torch.zeros(512)},
        ("torchvision VGG16", FIRST, "2 keys: g_ema, latent_avg"),
    ),
    "a tensor": (torch.zeros(3, 4), ("torchvision VGG16", "(3, 4)")),
    "no tensor": (narrow() | {FIRST: 3}, (FIRST, "expected a tensor", "int")),
    "a missing key": (
        {key: value for key, value in narrow().items() if key != LAST},
        (LAST, "(16,)", "nothing"),
    ),
    "another shape": (narrow() | {LAST: torch.zeros(7)}, (LAST, "(16,)", "(7,)")),
    "a flat first weight": (
        narrow() | {FIRST: torch.zeros(54)},
        (FIRST, "(width, 3, 3, 3)", "(54,)"),
    ),
    "batch normalisation": (
        narrow() | {"features.1.running_mean": torch.zeros(2)},
        ("features.1.running_mean", "no such key", "(2,)"),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_other_files_are_refused_by_what_they_hold(tmp_path: Path, what: str) -> None:
    content, said = REFUSED[what]
    path = saved(tmp_path / "file.pth", content)
    with pytest.raises(CheckpointError) as refusal:
        load_perceptual(path)
    for words in (str(path), *said):
        assert words in str(refusal.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "vgg.pth", narrow())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"vgg\.pth"):
        load_perceptual(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("weights", "lpips"), ("perceptual_scale", 0.0), ("perceptual_scale", INF), ("side", 4)],
)
def test_arguments_outside_what_is_allowed_are_refused(field: str, value: object) -> None:
    arguments: dict[str, Any] = {field: value}
    with pytest.raises(InvalidInput, match=field):
        load_perceptual("vgg.pth", **arguments)
