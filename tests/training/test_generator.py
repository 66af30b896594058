"""The generator gives what the original gave, in every form of its arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wstar_training.models.ops import ModulatedConv
from wstar_training.models.stylegan2 import Generator, generator_from_state

Load = Callable[[str, tuple[str, ...]], tuple[dict[str, Any], dict[str, Tensor]]]
Build = Callable[..., Generator]
Golden = tuple[dict[str, Tensor], Generator]

FEATURES = ("conv1", "to_rgb1", "convs.0", "convs.1", "to_rgbs.0")
# float32 sums of up to 512·9 terms in another order give 2e-5 of the standard deviation.
TOLERANCE = 1e-4


def error(found: Tensor, wanted: Tensor) -> float:
    """Largest error in standard deviations of what is wanted."""
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.std())


@pytest.fixture(scope="module")
def published(golden: Load) -> Golden:
    arrays, state = golden("rosinality_g64", ("",))
    generator = generator_from_state(state)
    tensors = {name: torch.from_numpy(a) for name, a in arrays.items() if a.dtype == np.float32}
    generator.mean_w = tensors["truncation_latent"][0]
    return tensors, generator


@torch.no_grad()
def test_pictures_and_features_are_the_recorded_ones(published: Golden) -> None:
    recorded, generator = published
    features: dict[str, Tensor] = {}
    hooks = [
        generator.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: features.update({name: output})
        )
        for name in FEATURES
    ]
    assert error(generator(recorded["wplus"]), recorded["image"]) < TOLERANCE
    for hook in hooks:
        hook.remove()
    for name in FEATURES:
        wanted = recorded[f"feat_{name.replace('.', '_')}"]
        # Evenly spaced channels of the first picture were recorded.
        found = features[name][:1, :: features[name].shape[1] // wanted.shape[1]]
        assert error(found, wanted) < TOLERANCE, name


@torch.no_grad()
def test_noise_mapping_truncation_and_mixing_are_the_recorded_ones(published: Golden) -> None:
    recorded, generator = published
    z = recorded["z"]
    pulled = generator.mapping(z, psi=0.7)
    w = generator.mapping(z)
    mixed = generator.style_mix(w[:1], w[1:], 4)
    assert error(w[:, 0], recorded["w"]) < TOLERANCE
    assert error(pulled[:, -1], recorded["latent_z_psi07"]) < TOLERANCE
    assert error(generator(pulled), recorded["image_z_psi07"]) < TOLERANCE
    assert error(generator(mixed), recorded["image_mix4"]) < TOLERANCE
    found = generator(recorded["wplus"], noise="none")
    assert error(found, recorded["image_zero_noise"]) < TOLERANCE
    # One big picture goes another way than a batch.
    assert error(generator(recorded["wplus"][:1]), recorded["image"][:1]) < TOLERANCE


def per_sample(generator: Generator, w: Tensor, noise: bool, clamp: float | None) -> Tensor:
    """The generator as Karras et al. 2020 write it: one weight per picture, one step at a time."""
    pictures = []
    for rows in w:
        x: Tensor = generator.input.input
        skip = torch.zeros(())

        def modulated(conv: Any, row: Tensor, demodulate: bool) -> Tensor:  # noqa: ANN401
            style = row @ conv.modulation.weight.T / row.numel() ** 0.5 + conv.modulation.bias
            weight: Tensor = conv.weight[0] * style[:, None, None]
            weight = weight / weight[0].numel() ** 0.5
            if demodulate:
                weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            return weight

        def bounded(x: Tensor) -> Tensor:
            return x if clamp is None else x.clamp(-clamp, clamp)

        def filtered(x: Tensor, padding: int) -> Tensor:
            row = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 4.0
            x = functional.pad(x, [padding, 1] * 2)
            kernel = torch.outer(row, row).expand(x.shape[1], 1, 4, 4)
            return functional.conv2d(x, kernel, groups=x.shape[1])

        convs: list[Any] = [generator.conv1, *generator.convs]
        for layer, conv in enumerate(convs):
            weight = modulated(conv.conv, rows[layer], demodulate=True)
            if layer % 2:
                x = functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
                x = filtered(x, 1)
            else:
                x = functional.conv2d(x, weight, padding=1)
            if noise:
                x = x + conv.noise.weight * generator.noises[f"noise_{layer}"]
            x = x + conv.activate.bias[:, None, None]
            x = bounded(functional.leaky_relu(x, 0.2) * 2**0.5)
            if layer % 2 == 0:
                to_rgb: Any = [generator.to_rgb1, *generator.to_rgbs][layer // 2]
                weight = modulated(to_rgb.conv, rows[layer + 1], demodulate=False)
                rgb = bounded(functional.conv2d(x, weight) + to_rgb.bias)
                if layer:
                    spread = functional.pad(skip[..., None, :, None], [0, 1, 0, 0, 0, 1])
                    rgb = rgb + filtered(spread.reshape(rgb.shape), 2)
                skip = rgb
        pictures.append(skip)
    return torch.cat(pictures)


@pytest.mark.parametrize("clamp", [None, 0.9])
@pytest.mark.parametrize("noise", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_fast_form_is_the_written_one(
    small_generator: Build, clamp: float | None, noise: bool, count: int
) -> None:
    generator = small_generator(conv_clamp=clamp).double()
    w = torch.randn(count, generator.n_latent, 12, dtype=torch.float64)
    found = generator(w, noise="const" if noise else "none")
    # Only the FIR filter is stored in float32, exactly.
    torch.testing.assert_close(found, per_sample(generator, w, noise, clamp), rtol=0, atol=1e-11)
    # The bounds are reached, or the test would say nothing about them.
    unbounded = per_sample(generator, w, noise, None)
    assert bool((found - unbounded).abs().max() > 0.1) == (clamp is not None)


@pytest.mark.parametrize("count", [1, 2])
def test_gradients_are_those_of_the_formula(small_generator: Build, count: int) -> None:
    conv = ModulatedConv(3, 4, w_dim=2, upsample=True).double()
    x, w, bias = (torch.randn(shape).double().requires_grad_() for shape in
                  ((count, 3, 8, 8), (count, 2), (4,)))  # fmt: skip
    assert torch.autograd.gradcheck(conv, (x, w, bias))
    generator = small_generator(8).double()
    codes = torch.randn(count, generator.n_latent, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(generator, (codes,))
