"""The networks give what the original networks gave, weights and inputs being the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wstar_training.models.classifiers import Classifiers
from wstar_training.models.stylegan2 import Generator, channels_of
from wstar_training.models.vgg import PERCEPTUAL_TAPS, VGG16
from wstar_training.perceptual import PerceptualDistance, balanced_tap_weights

# Of the published VGG16's input, RGB in [0, 1].
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

Load = Callable[[str, tuple[str, ...]], tuple[dict[str, Any], dict[str, Tensor]]]


@torch.no_grad()
def test_generator_draws_what_the_published_one_draws(golden: Load) -> None:
    arrays, state = golden(
        "rosinality_g64", ("input.", "conv1.", "to_rgb1.", "convs.", "to_rgbs.", "noises.")
    )
    generator = Generator(64, channels_of(64)).eval()
    generator.load_state_dict(state)
    w = torch.from_numpy(arrays["wplus"])
    wanted = arrays["image"]
    # float32 sums of 512·9 terms in another order.
    assert np.abs(generator(w).numpy() - wanted).max() < 1e-4 * wanted.std()
    for noise in generator.noises.values():
        noise.zero_()
    wanted = arrays["image_zero_noise"]
    assert np.abs(generator(w).numpy() - wanted).max() < 1e-4 * wanted.std()


@torch.no_grad()
def test_vgg_taps_are_those_of_the_published_one(golden: Load) -> None:
    arrays, state = golden("vgg16", ("features.",))
    network = VGG16().eval()
    network.load_state_dict(state)
    x = (torch.from_numpy(arrays["x"]) - MEAN) / STD
    for name, tap in zip(PERCEPTUAL_TAPS, network.taps(x), strict=True):
        wanted = arrays[f"feat_{name}"]
        # 32 evenly spaced channels were recorded.
        found = tap[:, :: tap.shape[1] // 32].numpy()
        assert np.abs(found - wanted).max() < 1e-4 * wanted.std()


@torch.no_grad()
def test_perceptual_distance_is_the_recorded_one(golden: Load) -> None:
    arrays, state = golden("vgg16", ("features.",))
    network = VGG16()
    network.load_state_dict(state)
    recorded = dict(zip(arrays["distance_names"], arrays["distance_values"], strict=True))
    x = (torch.from_numpy(arrays["x"]) - MEAN) / STD
    distance = PerceptualDistance(network, scale=10.0)
    wanted = 10.0 * sum(recorded[f"{name}_mean_sq"] for name in PERCEPTUAL_TAPS)
    assert distance(x[:1], x[1:]).item() == pytest.approx(wanted, rel=1e-4)


@torch.no_grad()
def test_perceptual_features_are_distances_in_plain_euclid() -> None:
    x, y = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    distance = PerceptualDistance(VGG16(4, batch_norm=True), 3.0, (0.2, 0.3, 0.5))
    a, b = torch.cat(distance.features(x), 1), torch.cat(distance.features(y), 1)
    torch.testing.assert_close((a - b).square().sum(1), distance(x, y), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_balanced_taps_give_random_pairs_the_scale_as_mean() -> None:
    network = VGG16(4, batch_norm=True)
    pictures = torch.rand(64, 3, 64, 64) * 2 - 1
    distance = PerceptualDistance(network, 10.0, balanced_tap_weights(network, pictures))
    found = distance(pictures[1:], pictures[:-1]).mean().item()
    assert found == pytest.approx(10.0, rel=1e-3)


def test_normals_have_unit_length_and_zero_rows_stay_zero() -> None:
    weight = torch.randn(3, 1024)
    weight[1] = 0.0
    normals = Classifiers(weight, torch.zeros(3)).normals
    torch.testing.assert_close(normals.norm(dim=1), torch.tensor([1.0, 0.0, 1.0]))
