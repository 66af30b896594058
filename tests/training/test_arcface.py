"""ArcFace embeds the face in a picture, whatever the picture's size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.arcface import ArcFace
from wstar_training.models.weights.arcface import arcface_from_state

FILE = Path("model_ir_se50.pth")
SCALE, OFFSET = "output_layer.4.weight", "output_layer.4.bias"


@pytest.fixture(scope="module")
def network() -> ArcFace:
    torch.manual_seed(1)
    network = ArcFace()
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(module.running_mean, 0.0, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.1)
    return network.eval().requires_grad_(False)


def picture(side: int = 256) -> Tensor:
    return torch.rand(1, 3, side, side) * 2 - 1


def test_an_embedding_is_the_normalised_head_on_the_cropped_face(network: ArcFace) -> None:
    x = torch.cat((picture(), picture()))
    # 188 px to 112: each target pixel is the mean of the 2 or 3 pixels that it covers.
    starts = torch.arange(112) * 188 // 112
    ends = -(-(torch.arange(112) + 1) * 188 // 112)
    inside = (torch.arange(188) >= starts[:, None]) & (torch.arange(188) < ends[:, None])
    pool = inside / inside.sum(1, keepdim=True)
    features = network.levels(pool @ x[:, :, 35:223, 32:220] @ pool.T)[2]
    assert features.shape == (2, 512, 7, 7)
    before, _, _, linear, after = network.output_layer
    vector = after(linear(before(features).flatten(1)))
    wanted = vector / vector.square().sum(1, keepdim=True).sqrt()
    # float32 sums of the pooled pixels in another order.
    torch.testing.assert_close(network(x), wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(network(x).norm(dim=1), torch.ones(2), rtol=0, atol=1e-6)


def test_nothing_but_the_face_counts(network: ArcFace) -> None:
    x, y = picture(), picture()
    y[:, :, 35:223, 32:220] = x[:, :, 35:223, 32:220]
    assert torch.equal(network(x), network(y))
    y[:, :, 35:38, 32:35] *= -1
    y[:, :, 220:223, 217:220] *= -1
    assert not torch.equal(network(x), network(y))


def test_pictures_of_other_sizes_are_averaged_to_256_px(network: ArcFace) -> None:
    large, small = picture(512), picture(128)
    halved = functional.avg_pool2d(large, 2)
    doubled = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    # Means of four pixels in another order.
    torch.testing.assert_close(network(large), network(halved), rtol=0, atol=1e-5)
    torch.testing.assert_close(network(small), network(doubled), rtol=0, atol=1e-5)


def test_gradients_reach_the_picture(network: ArcFace) -> None:
    x = picture().requires_grad_()
    network(x)[0, 0].backward()
    assert x.grad is not None
    assert x.grad[:, :, 35:223, 32:220].abs().sum() > 0
    assert x.grad[:, :, :35].abs().sum() == 0


@pytest.mark.parametrize("shape", [(3, 256, 256), (1, 1, 256, 256), (1, 3, 256, 192)])
def test_pictures_that_are_not_square_rgb_are_refused(
    network: ArcFace, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidInput, match="picture") as refused:
        network(torch.zeros(shape))
    assert str(shape) in str(refused.value)


def test_a_state_dict_gives_the_network_it_was_taken_from(network: ArcFace) -> None:
    loaded = arcface_from_state(network.state_dict(), FILE)
    x = picture()
    assert torch.equal(loaded(x), network(x))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_file_without_scale_and_offset_has_neither(network: ArcFace) -> None:
    state = dict(network.state_dict())
    neutral = state | {SCALE: torch.ones(512), OFFSET: torch.zeros(512)}
    del state[SCALE], state[OFFSET]
    x = picture()
    found = arcface_from_state(state, FILE)(x)
    # Multiplying by one and adding zero.
    torch.testing.assert_close(found, arcface_from_state(neutral, FILE)(x), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("key", "tensor", "words"),
    [
        (OFFSET, None, ["(512,)", "nothing"]),
        ("output_layer.3.weight", None, ["(512, 25088)", "nothing"]),
        ("output_layer.3.weight", torch.zeros(512, 100352), ["(512, 25088)", "(512, 100352)"]),
        ("body.30.res_layer.1.weight", torch.zeros(2), ["no such key", "(2,)"]),
    ],
    ids=["half of the scale", "no head", "head of 224 px", "deeper body"],
)
def test_refusals_name_key_and_shapes(
    network: ArcFace, key: str, tensor: Tensor | None, words: list[str]
) -> None:
    state = dict(network.state_dict())
    if tensor is None:
        del state[key]
    else:
        state[key] = tensor
    with pytest.raises(CheckpointError) as refused:
        arcface_from_state(state, FILE)
    assert all(word in str(refused.value) for word in [str(FILE), key, *words])
