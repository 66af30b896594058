"""`wstar-train inspect`: every family is told by content, and what is missing is said."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wstar_training.cli import main
from wstar_training.models.arcface import ArcFace
from wstar_training.models.mapping import MappingNetwork
from wstar_training.models.psp import GradualStyleEncoder
from wstar_training.models.stylegan2 import Generator
from wstar_training.models.vgg import VGG16
from wstar_training.models.vggface import VGGFace
from wstar_training.models.weights import inspect
from wstar_training.models.weights.vggface import VGGFACE_LAYOUTS

DATA = Path(__file__).resolve().parents[1] / "data"
ROWS = 10
# 64 px is where the channel multiplier can first be seen: 256 times it.
NARROW = {4: 8, 8: 8, 16: 8, 32: 8, 64: 512}


def generator_state() -> dict[str, Tensor]:
    """A generator of 64 px, with a mapping of two layers, nearly all of it narrow."""
    generator = Generator(64, NARROW, style=MappingNetwork(512, [512, 512]))
    return dict(generator.state_dict())


def encoder_state() -> dict[str, Tensor]:
    """Keys and shapes of a pSp encoder; the numbers share one storage, which makes it small."""
    with torch.device("meta"):
        like = GradualStyleEncoder(ROWS).state_dict()
    floats = torch.zeros(max(value.numel() for value in like.values()))
    return {
        f"encoder.{key}": floats[: value.numel()].view(value.shape)
        if value.is_floating_point()
        else torch.tensor(0)
        for key, value in like.items()
    }


def psp(encoder_type: str) -> dict[str, Any]:
    size = "stylegan_size" if encoder_type == "Encoder4Editing" else "output_size"
    opts = {"encoder_type": encoder_type, "start_from_latent_avg": True, size: 64}
    return {"state_dict": encoder_state(), "opts": opts, "latent_avg": torch.zeros(512)}


def face_state(layout: str) -> dict[str, Tensor]:
    network = VGGFace(2, 8, 4)
    names = VGGFACE_LAYOUTS[layout].names(network)
    return {names[key]: value for key, value in network.state_dict().items()}


FILES: dict[str, Callable[[], object]] = {
    "StyleGAN2, rosinality (converted)": lambda: {
        "g_ema": generator_state(), "latent_avg": torch.zeros(512),
    },
    "StyleGAN2, rosinality (training run)": lambda: {
        "g_ema": generator_state(), "args": argparse.Namespace(size=64),
    },
    "StyleGAN2, rosinality (state dict alone)": generator_state,
    "pSp": lambda: psp("GradualStyleEncoder"),
    "e4e": lambda: psp("Encoder4Editing"),
    "VGG16, torchvision": lambda: VGG16(2).state_dict(),
    **{f"VGGFace, layout {name}": partial(face_state, name) for name in VGGFACE_LAYOUTS},
}  # fmt: skip


@pytest.mark.parametrize("family", FILES)
def test_a_family_is_told_by_content(tmp_path: Path, family: str) -> None:
    path = tmp_path / "anything.bin"
    torch.save(FILES[family](), path)
    found = inspect(path)
    assert found.family == family
    assert found.dtypes == ("float32",)
    if found.resolution is not None:
        assert (found.resolution, found.n_latent) == (64, ROWS)
    if "rosinality" in family:
        assert found.channel_multiplier == 2.0
        weights = [v for k, v in generator_state().items() if not k.startswith("noises.")]
        kernels = 16 * 8  # Two filters of 4 x 4 at each of four sides.
        assert found.parameters["generator"] == sum(v.numel() for v in weights) - kernels


def test_arcface_is_told_by_content(tmp_path: Path) -> None:
    with torch.device("meta"):
        like = ArcFace(affine=False).state_dict()
    floats = torch.zeros(max(value.numel() for value in like.values()))
    state = {key: floats[: value.numel()].view(value.shape) for key, value in like.items()}
    torch.save(state, tmp_path / "face.pt")
    found = inspect(tmp_path / "face.pt")
    assert found.family == "ArcFace IR-SE-50" and found.details["affine"] is False
    # The published network's size, batch normalisation's affine part left out.
    assert found.parameters["network"] == pytest.approx(43.8e6, rel=0.01)


def test_an_nvidia_pickle_is_described() -> None:
    found = inspect(DATA / "nvidia_tiny.pkl")
    assert found.family == "StyleGAN2-ADA, NVIDIA, PyTorch"
    assert (found.resolution, found.n_latent) == (32, 8)
    assert found.channel_multiplier is None  # Not to be seen below 64 px.
    assert found.details["conv_clamp"] == 256.0 and found.missing == ()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    state = generator_state()
    for key in [key for key in state if key.startswith("noises.")]:
        del state[key]
    del state["convs.2.conv.weight"]
    torch.save({"g_ema": state}, tmp_path / "g.pt")
    missing = " ".join(inspect(tmp_path / "g.pt").missing)
    for part in ("convs.2.conv.weight", "noises.noise_0", "noises.noise_8", "latent_avg"):
        assert part in missing
    content = psp("GradualStyleEncoder")
    content["latent_avg"] = None
    torch.save(content, tmp_path / "p.pt")
    missing = " ".join(inspect(tmp_path / "p.pt").missing)
    assert "latent_avg" in missing and "decoder" in missing


def test_the_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"g_ema": generator_state()}, tmp_path / "g.pt")
    assert main(["inspect", str(tmp_path / "g.pt"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["resolution"] == 64 and facts["file"] == "g.pt"
    assert facts["size_bytes"] == (tmp_path / "g.pt").stat().st_size
    assert main(["inspect", str(tmp_path / "g.pt")]) == 0
    assert "64 px" in capsys.readouterr().out


@pytest.mark.parametrize("content", [{"weights": torch.zeros(2)}, [1, 2], {}])
def test_strangers_are_refused(
    tmp_path: Path, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "x.pt")
    assert main(["inspect", str(tmp_path / "x.pt")]) == 1
    error = capsys.readouterr().err
    assert "x.pt" in error and "StyleGAN2" in error


def test_half_of_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"g_ema": generator_state()}, tmp_path / "g.pt")
    data = (tmp_path / "g.pt").read_bytes()
    (tmp_path / "g.pt").write_bytes(data[: len(data) // 2])
    assert main(["inspect", str(tmp_path / "g.pt")]) == 1
    assert "g.pt" in capsys.readouterr().err


def test_generators_of_no_side_are_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in {"none": 0, "many": 20}.items():
        state = {f"to_rgbs.{index}.bias": torch.zeros(1) for index in range(count)}
        torch.save({"g_ema": state}, tmp_path / f"{name}.pt")
        assert main(["inspect", str(tmp_path / f"{name}.pt")]) == 1
        error = capsys.readouterr().err
        assert f"{name}.pt: to_rgbs.*: expected 1 to 8 of them, found {count}" in error


def test_a_torn_mapping_network_is_told(tmp_path: Path) -> None:
    state = generator_state()
    del state["style.2.bias"]
    torch.save({"g_ema": state}, tmp_path / "g.pt")
    assert "style.2.bias" in inspect(tmp_path / "g.pt").missing
