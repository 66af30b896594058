"""Generators are read from the files of their families, told by what is in them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.mapping import MappingNetwork
from wstar_training.models.stylegan2 import Generator
from wstar_training.models.weights.generators import load_generator
from wstar_training.models.weights.nvidia import from_nvidia, to_nvidia

DATA = Path(__file__).resolve().parents[1] / "data"

Build = Callable[..., Generator]
Load = Callable[[str, tuple[str, ...]], tuple[dict[str, Any], dict[str, Tensor]]]


@pytest.fixture
def source(small_generator: Build) -> Generator:
    generator = small_generator(style=MappingNetwork(5, [7, 12]))
    generator.mean_w = torch.randn(12)
    return generator


def containers(source: Generator) -> dict[str, dict[str, Any]]:
    """What the families of torch files hold of the same generator."""
    state = source.state_dict()
    decoder = {f"decoder.{key}": value for key, value in state.items()}
    decoder["encoder.input_layer.0.weight"] = torch.zeros(64, 3, 3, 3)
    mean = source.mean_w
    assert mean is not None
    rows = torch.randn(source.n_latent, 12)
    return {
        "converted": {"g_ema": state, "latent_avg": mean},
        "training run": {
            "g": {},
            "d": {},
            "g_ema": state,
            "g_optim": {"state": {}, "param_groups": []},
            "args": argparse.Namespace(size=16, n_mlp=2),
            "ada_aug_p": 0.1,
        },
        "bare": dict(state),
        "decoder, one mean": {"state_dict": decoder, "opts": {}, "latent_avg": mean[None]},
        "decoder, a mean for each row": {"state_dict": decoder, "opts": {}, "latent_avg": rows},
        "decoder, no mean": {"state_dict": decoder, "opts": {}},
    }


KINDS = (
    "converted", "training run", "bare", "decoder, one mean", "decoder, a mean for each row",
    "decoder, no mean",
)  # fmt: skip


def saved(content: object, folder: Path) -> Path:
    # The name says nothing about the family.
    path = folder / "network.bin"
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_each_torch_family_gives_the_same_generator(
    kind: str, source: Generator, tmp_path: Path
) -> None:
    container = containers(source)[kind]
    found = load_generator(saved(container, tmp_path))
    w, z = torch.randn(2, 6, 12), torch.randn(2, 5)
    assert torch.equal(found(w), source(w))
    assert torch.equal(found.mapping(z), source.mapping(z))
    assert (found.resolution, found.n_latent, found.conv_clamp) == (16, 6, None)
    assert not found.training
    assert not any(parameter.requires_grad for parameter in found.parameters())
    if "latent_avg" in container:
        assert found.mean_w is not None
        assert torch.equal(found.mean_w, container["latent_avg"].squeeze(0))
    else:
        assert found.mean_w is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_become_float32(
    dtype: torch.dtype, source: Generator, tmp_path: Path
) -> None:
    container = containers(source)["converted"]
    container["g_ema"] = {key: value.to(dtype) for key, value in container["g_ema"].items()}
    container["latent_avg"] = container["latent_avg"].to(dtype)
    found = load_generator(str(saved(container, tmp_path)))
    assert {tensor.dtype for tensor in found.state_dict().values()} == {torch.float32}
    assert found.mean_w is not None
    assert found.mean_w.dtype == torch.float32
    w = torch.randn(2, 6, 12)
    assert found(w).dtype == torch.float32
    if dtype == torch.float64:
        assert torch.equal(found(w), source(w))


def test_noise_is_the_callers_choice(source: Generator, tmp_path: Path) -> None:
    container = containers(source)["converted"]
    w = torch.randn(2, 6, 12)
    assert torch.equal(
        load_generator(saved(container, tmp_path), noise="none")(w), source(w, noise="none")
    )
    for key in [key for key in container["g_ema"] if key.startswith("noises.")]:
        del container["g_ema"][key]
    path = saved(container, tmp_path)
    with pytest.raises(CheckpointError) as refusal:
        load_generator(path)
    for part in (
        str(path), "g_ema.noises.noise_0", "expected shape (1, 1, 4, 4)", "found nothing",
        'noise="none"', 'noise="random"',
    ):  # fmt: skip
        assert part in str(refusal.value)
    assert torch.equal(load_generator(path, noise="none")(w), source(w, noise="none"))
    fresh = load_generator(path, noise="random")
    assert not torch.equal(fresh(w), fresh(w))
    with pytest.raises(InvalidInput, match="noise: found 'loud', allowed: one of const"):
        load_generator(path, noise="loud")  # type: ignore[arg-type]


def changed(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda container: container["g_ema"].update({key: value})


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def remove(container: dict[str, Any]) -> None:
        state = container["g_ema"]
        for key in [key for key in state if key.startswith(keys)]:
            del state[key]

    return remove


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            changed("convs.1.conv.weight", torch.zeros(1, 8, 9, 3, 3)),
            r"g_ema\.convs\.1\.conv\.weight: expected shape \(1, 8, 8, 3, 3\), found \(1, 8, 9",
        ),
        (without("convs.3.noise"), r"g_ema\.convs\.3\.noise\.weight: .*\(1,\), found nothing"),
        (without("convs.2."), r"g_ema\.convs\.2\.activate\.bias: .* found nothing"),
        (without("to_rgbs."), r"g_ema\.to_rgbs\.0.*expected 1 to 8 .*found 0"),
        (without("to_rgbs.1."), r"g_ema\.\S+: expected no such key"),
        (without("conv1.conv.modulation.weight"), r"modulation\.weight: .* found nothing"),
        (without("style.1.weight"), r"g_ema\.style\.1\.weight: .* found nothing"),
        (without("noises.noise_2"), r"g_ema\.noises\.noise_2: .*\(1, 1, 8, 8\), found nothing"),
        (changed("style.1.weight", torch.zeros(7)), r"style\.1\.weight: .*found \(7,\)"),
        (changed("style.1.weight", torch.zeros(0, 5)), r"style\.1\.weight: .*found \(0, 5\)"),
        (changed("input.input", torch.zeros(8, 4, 4)), r"input\.input: .*found \(8, 4, 4\)"),
        (changed("noises.noise_1", torch.zeros(())), r"noises\.noise_1: .*found \(\)"),
        (changed("convs.0.activate.bias", torch.zeros(70000)), r"bias: .*\(70000,\)"),
        (changed("conv1.noise.weight", torch.zeros(1).int()), r"noise\.weight: .*int32"),
        (changed("conv1.noise.weight", 0.5), r"g_ema\.conv1\.noise\.weight: .*float"),
        (changed("extra", torch.zeros(2)), r"g_ema\.extra: expected no such key, found .*\(2,\)"),
        (
            lambda c: c["g_ema"].update({f"to_rgbs.{i}.bias": torch.zeros(1) for i in range(99)}),
            r"expected 1 to 8 .*found 99",
        ),
        (lambda c: c.update(g_ema=[1]), r"g_ema: expected a state dict, found list"),
        (lambda c: c.update(latent_avg=torch.zeros(13)), r"latent_avg: .*\(12,\).*found \(13,\)"),
        (lambda c: c.update(latent_avg=torch.zeros(5, 12)), r"latent_avg: .*found \(5, 12\)"),
        (lambda c: c.update(latent_avg="mean"), r"latent_avg: .*found str"),
        (lambda c: c.pop("g_ema"), "g_ema, state_dict, G_ema, input.input, found latent_avg"),
        (lambda c: (c.clear(), c.update(state_dict={})), r"decoder\.input\.input: .*nothing"),
    ],
)
@pytest.mark.parametrize("noise", ["const", "none"])
def test_damaged_files_are_refused_by_key(
    damage: Callable[[dict[str, Any]], None],
    message: str,
    noise: Any,  # noqa: ANN401
    source: Generator,
    tmp_path: Path,
) -> None:
    container = containers(source)["converted"]
    damage(container)
    path = saved(container, tmp_path)
    if noise == "none" and "noises" in message and "nothing" in message:
        load_generator(path, noise)
        return
    with pytest.raises(CheckpointError, match=message) as refusal:
        load_generator(path, noise)
    assert str(path) in str(refusal.value)


@torch.no_grad()
def test_nvidia_pickle_gives_the_recorded_answers(golden: Load) -> None:
    recorded, _ = golden("nvidia_tiny", ("none",))
    generator = load_generator(DATA / "nvidia_tiny.pkl")
    assert (generator.resolution, generator.n_latent, generator.w_dim) == (32, 8, 16)
    assert generator.conv_clamp == 256.0
    assert generator.mean_w is not None
    z = torch.from_numpy(recorded["z"])
    for found, name in (
        (generator(torch.from_numpy(recorded["ws"])), "image"),
        (generator.mapping(z)[:, 0], "w"),
        (generator(generator.mapping(z, psi=0.5)), "image_z_psi05"),
    ):
        wanted = recorded[name]
        # float32 sums in another order give 4e-6.
        assert np.abs(found.numpy() - wanted).max() < 1e-4 * wanted.std(), name


def test_names_go_to_nvidias_and_back_bit_by_bit(source: Generator, golden: Load) -> None:
    state = source.state_dict()
    there = to_nvidia(state, source.mean_w)
    back, mean_w = from_nvidia(there)
    assert mean_w is not None
    assert source.mean_w is not None
    assert torch.equal(mean_w, source.mean_w)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], value) for key, value in state.items())
    _, recorded = golden("nvidia_tiny", ("",))
    there = to_nvidia(*from_nvidia(recorded))
    assert there.keys() == recorded.keys()
    assert all(torch.equal(there[key], value) for key, value in recorded.items())
    assert "mapping.w_avg" not in to_nvidia(state, None)


def test_what_nvidias_layout_has_no_place_for_is_refused(small_generator: Build) -> None:
    state = small_generator(noise_per_channel=True).state_dict()
    with pytest.raises(InvalidInput, match=r"noises.noise_0: .*\(1, 8, 4, 4\)"):
        to_nvidia(state, None)
    with pytest.raises(InvalidInput, match=r"mean_w: .*\(6, 12\)"):
        to_nvidia(state, torch.zeros(6, 12))
