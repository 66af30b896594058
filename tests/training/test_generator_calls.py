"""What a caller of the generator may ask, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.mapping import MappingNetwork
from wstar_training.models.stylegan2 import Generator, channels_of, generator_from_state

Build = Callable[..., Generator]


@pytest.mark.parametrize(
    ("resolution", "n"), [(8, 4), (16, 6), (64, 10), (256, 14), (512, 16), (1024, 18)]
)
def test_resolution_sets_rows_channels_and_maps(resolution: int, n: int) -> None:
    with torch.device("meta"):
        generator = Generator(resolution, channels_of(resolution))
    assert (generator.resolution, generator.n_latent) == (resolution, n)
    assert generator.noises[f"noise_{n - 2}"].shape == (1, 1, resolution, resolution)
    assert len(generator.noises) == n - 1
    to_rgb: Any = generator.to_rgbs[-1]
    assert to_rgb.conv.weight.shape[2] == min(512, 32768 // resolution)


def test_one_row_stands_for_all(small_generator: Build) -> None:
    generator = small_generator()
    w = torch.randn(2, 12)
    assert torch.equal(generator(w), generator(w[:, None].repeat(1, generator.n_latent, 1)))


def test_noise_is_stored_fresh_or_none(small_generator: Build) -> None:
    generator = small_generator()
    w = torch.randn(2, generator.n_latent, 12)
    assert torch.equal(generator(w), generator(w, noise="const"))
    first, again = generator(w, noise="random"), generator(w, noise="random")
    assert not torch.allclose(first, again)
    # The same code twice in a batch gets two draws.
    twice = generator(w[:1].repeat(2, 1, 1), noise="random")
    assert not torch.allclose(twice[0], twice[1])
    generator.noise = "none"
    assert torch.equal(generator(w), generator(w, noise="none"))


def test_noise_per_channel_and_a_generator_without_mapping_come_back_from_their_state(
    small_generator: Build,
) -> None:
    generator = small_generator(noise_per_channel=True)
    again = generator_from_state(generator.state_dict())
    w = torch.randn(1, generator.n_latent, 12)
    assert torch.equal(again(w), generator(w))
    assert again.noises["noise_1"].shape == (1, 8, 8, 8)
    with pytest.raises(InvalidInput, match="no mapping network"):
        again.mapping(torch.randn(1, 12))
    with pytest.raises(InvalidInput, match="no mapping network"):
        again.estimate_mean_w(8, seed=0)


def test_truncation_pulls_the_first_rows_to_the_mean(small_generator: Build) -> None:
    generator = small_generator(style=MappingNetwork(5, [7, 12]))
    z = torch.randn(3, 5)
    w = generator.mapping(z)
    assert w.shape == (3, generator.n_latent, 12)
    mean = torch.randn(generator.n_latent, 12)
    for stored in (mean[0], mean):
        generator.mean_w = stored
        wanted = stored + 0.3 * (w - stored)
        found = generator.mapping(z, psi=0.3)
        torch.testing.assert_close(found, wanted)
        cut = generator.mapping(z, psi=0.3, cutoff=2)
        assert torch.equal(cut[:, :2], found[:, :2])
        assert torch.equal(cut[:, 2:], w[:, 2:])


def test_mean_is_estimated_from_a_seed(small_generator: Build) -> None:
    generator = small_generator(style=MappingNetwork(5, [12]))
    assert generator.mean_w is None
    generator.estimate_mean_w(5000, seed=3)
    first = generator.mean_w
    assert first is not None
    generator.estimate_mean_w(5000, seed=3)
    assert generator.mean_w is not None
    assert torch.equal(first, generator.mean_w)
    drawn = generator.mapping(torch.randn(20000, 5))[:, 0]
    # Four standard errors of the smaller sample.
    assert (drawn.mean(0) - first).abs().max() < 4 * drawn.std() / 5000**0.5
    assert "mean_w" not in generator.state_dict()
    conditional = small_generator(style=MappingNetwork(5, [12], labels=3, embedding=4))
    conditional.estimate_mean_w(16, seed=0)
    assert conditional.mean_w is not None


def test_labels_are_normalised_apart_from_z(small_generator: Build) -> None:
    style = MappingNetwork(5, [12], labels=3, embedding=4)
    generator = small_generator(style=style)
    z, labels = torch.randn(2, 5), torch.eye(3)[:2]
    assert style.embed is not None
    embedded = style.embed(labels)
    x = torch.cat([part / part.square().mean(1, keepdim=True).sqrt() for part in (z, embedded)], 1)
    layer: Any = style.get_submodule("1")
    wanted = functional.leaky_relu(x @ layer.weight.T * (0.01 / 3.0) + 0.01 * layer.bias, 0.2)
    torch.testing.assert_close(generator.mapping(z, labels=labels)[:, 0], wanted * 2**0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: g(torch.zeros(2, 5, 12)), r"w: .*\(2, 5, 12\).*\(N, 6, 12\) or \(N, 12\)"),
        (lambda g: g(torch.zeros(2, 13)), r"w: .*\(2, 13\)"),
        (lambda g: g(torch.zeros(12)), r"w: .*\(12,\)"),
        (lambda g: g(torch.zeros(1, 12), noise="fresh"), "noise: .*const, none, random"),
        (lambda g: g.mapping(torch.zeros(2, 4), labels=torch.zeros(2, 3)), r"z: .*\(N, 5\)"),
        (lambda g: g.mapping(torch.zeros(2, 5)), r"labels: found None.*\(N, 3\)"),
        (lambda g: g.mapping(torch.zeros(2, 5), labels=torch.zeros(1, 3)), r"labels: .*\(N, 3\)"),
        (lambda g: g.mapping(torch.zeros(2, 5), cutoff=7), "cutoff: found 7, allowed: 0 to 6"),
        (lambda g: g.mapping(torch.zeros(2, 5), psi=float("nan")), "psi: .*finite"),
        (
            lambda g: g.mapping(torch.zeros(1, 5), psi=0.7, labels=torch.zeros(1, 3)),
            r"psi: .*no mean.*estimate_mean_w\(samples, seed\)",
        ),
        (lambda g: g.estimate_mean_w(0, seed=0), "samples: found 0"),
        (lambda g: g.style_mix(torch.zeros(1, 12), torch.zeros(2, 12), 1), "second: "),
        (lambda g: g.style_mix(torch.zeros(1, 12), torch.zeros(1, 12), 7), "index: found 7"),
        (lambda g: g.style_mix(torch.zeros(1, 9), torch.zeros(1, 12), 1), "first: "),
    ],
)
def test_wrong_arguments_are_refused(
    small_generator: Build, call: Callable[[Generator], object], message: str
) -> None:
    generator = small_generator(style=MappingNetwork(5, [12], labels=3, embedding=4))
    with pytest.raises(InvalidInput, match=message):
        call(generator)


def test_labels_of_an_unconditional_model_are_refused(small_generator: Build) -> None:
    generator = small_generator(style=MappingNetwork(5, [12]))
    with pytest.raises(InvalidInput, match=r"labels: .*takes no labels"):
        generator.mapping(torch.zeros(1, 5), labels=torch.zeros(1, 3))


def test_stored_noise_that_is_not_there_is_refused(small_generator: Build) -> None:
    generator = small_generator(noise_per_channel=None)
    with pytest.raises(InvalidInput, match="noise: found 'const', allowed: none or random"):
        generator(torch.zeros(1, 12))
    assert generator(torch.zeros(1, 12), noise="none").shape == (1, 3, 16, 16)


@pytest.mark.parametrize("key", ["input.input", "convs.2.activate.bias", "noises.noise_3"])
def test_incomplete_states_are_refused(small_generator: Build, key: str) -> None:
    state = small_generator().state_dict()
    del state[key]
    with pytest.raises(CheckpointError, match=key):
        generator_from_state(state)
