"""LPIPS files: the published linear layers, on torchvision's VGG16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.vgg import VGG16
from wstar_training.models.weights import load_lpips

WIDTHS = (2, 4, 8, 16, 16)


def linear() -> dict[str, Tensor]:
    """What `vgg.pth` holds, for a VGG16 two channels wide."""
    return {
        f"lin{index}.model.1.weight": torch.rand(1, width, 1, 1)
        for index, width in enumerate(WIDTHS)
    }


@pytest.fixture
def network(tmp_path: Path) -> Path:
    torch.save(VGG16(2).state_dict(), tmp_path / "vgg16.pth")
    return tmp_path / "vgg16.pth"


@torch.no_grad()
def test_the_published_layout_is_read(network: Path, tmp_path: Path) -> None:
    state = linear()
    # A state dict of all of LPIPS has more keys, which say nothing new.
    torch.save(state | {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}, tmp_path / "vgg.pth")
    judge = load_lpips(network, tmp_path / "vgg.pth", perceptual_scale=1.0, side=16)
    assert judge.input.side == 16 and judge.scale == 1.0
    x, y = torch.rand(2, 3, 3, 32, 32) * 2 - 1
    # In [-1, 1], with the constants of the published scaling layer.
    shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]])[..., None, None]
    small = torch.nn.functional.avg_pool2d(torch.cat([x, y]), 2)
    taps = judge.network.taps((small - shift) / scale, ("relu1_2", "relu5_3"))
    torch.testing.assert_close(judge.input(torch.cat([x, y])), (small - shift) / scale)
    assert [tap.shape[1] for tap in taps] == [2, 16]
    for index, name in enumerate(("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")):
        wanted = state[f"lin{index}.model.1.weight"].flatten()
        assert torch.equal(judge.get_buffer(name), wanted)
    assert (judge(x, y) > 0).all() and not judge(x, x).any()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"lin2.model.1.weight": torch.zeros(1, 7, 1, 1)}, CheckpointError, "(1, 8, 1, 1)"),
        ({"lin3.model.1.weight": -torch.ones(1, 16, 1, 1)}, InvalidInput, "relu4_3"),
    ],
)
def test_what_is_no_such_file_is_refused(
    network: Path, tmp_path: Path, change: dict[str, Tensor], error: type[Exception], said: str
) -> None:
    torch.save(linear() | change, tmp_path / "vgg.pth")
    with pytest.raises(error) as refusal:
        load_lpips(network, tmp_path / "vgg.pth")
    assert said in str(refusal.value)


def test_a_missing_layer_and_another_family_are_named(network: Path, tmp_path: Path) -> None:
    short = linear()
    del short["lin4.model.1.weight"]
    torch.save(short, tmp_path / "vgg.pth")
    with pytest.raises(CheckpointError, match=r"lin4\.model\.1\.weight: .* found nothing"):
        load_lpips(network, tmp_path / "vgg.pth")
    with pytest.raises(CheckpointError, match="no LPIPS file"):
        load_lpips(network, network)
    with pytest.raises(InvalidInput, match="side"):
        load_lpips(network, tmp_path / "vgg.pth", side=8)
