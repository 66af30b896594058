"""The pSp and e4e encoders compute what their papers say, from weights under published names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar.errors import InvalidInput
from wstar_training.models.absolute import Encoder
from wstar_training.models.e4e import Encoder4Editing
from wstar_training.models.irse import IRSE50
from wstar_training.models.psp import (
    BackboneEncoderUsingLastLayerIntoW,
    BackboneEncoderUsingLastLayerIntoWPlus,
    GradualStyleEncoder,
)

ROWS = 8  # The fewest with a row on each of the three levels of the pyramid.
SIZES = [(64, 64), (48, 64)]  # A face and a car, a quarter of their published sides.
# float32 sums of up to 25088 terms against float64, through 30 layers.
PRECISION = 2e-5

State = Mapping[str, Tensor]


def lively(network: nn.Module) -> nn.Module:
    """Weights under which signals neither die nor explode, and batch norms do something."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.data.mul_(1.5)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.0, 0.5)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def gradual() -> GradualStyleEncoder:
    torch.manual_seed(1)
    network = GradualStyleEncoder(ROWS)
    lively(network)
    return network


def pictures(size: tuple[int, int], count: int = 2) -> Tensor:
    return torch.rand(count, 3, *size) * 2 - 1


def norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{part}"].double()[:, None, None]
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def conv(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"].double()
    bias = state.get(f"{name}.bias")
    bias = None if bias is None else bias.double()
    return functional.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)


def prelu(state: State, name: str, x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x * state[f"{name}.weight"].double()[:, None, None])


def block(state: State, index: int, x: Tensor) -> Tensor:
    """Block `index` of IR-SE-50, from its description."""
    name = f"body.{index}."
    stride = 2 if index in (0, 3, 7, 21) else 1
    y = conv(state, name + "res_layer.1", norm(state, name + "res_layer.0", x))
    y = conv(state, name + "res_layer.3", prelu(state, name + "res_layer.2", y), stride)
    y = norm(state, name + "res_layer.4", y)
    gate = conv(state, name + "res_layer.5.fc1", y.mean((2, 3), keepdim=True)).clamp_min(0)
    y = y * torch.sigmoid(conv(state, name + "res_layer.5.fc2", gate))
    if f"{name}shortcut_layer.0.weight" in state:
        x = norm(state, name + "shortcut_layer.1", conv(state, name + "shortcut_layer.0", x))
    return x[:, :, ::stride, ::stride] + y


def levels(state: State, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x = norm(state, "input_layer.1", conv(state, "input_layer.0", x.double()))
    x = prelu(state, "input_layer.2", x)
    after = []
    for index in range(24):
        x = block(state, index, x)
        after.append(x)
    return after[6], after[20], after[23]


def stretch(found: int, wanted: int) -> Tensor:
    """The matrix of linear interpolation with the first and the last pixels kept in place."""
    position = torch.linspace(0, found - 1, wanted, dtype=torch.float64)
    return (1 - (position[:, None] - torch.arange(found)).abs()).clamp_min(0)


def enlarged(x: Tensor, size: torch.Size) -> Tensor:
    return stretch(x.shape[2], size[2]) @ x @ stretch(x.shape[3], size[3]).T


def linear(state: State, name: str, x: Tensor) -> Tensor:
    """A linear layer with equalised learning rate."""
    weight = state[f"{name}.weight"].double()
    y: Tensor = x @ weight.T / weight.shape[1] ** 0.5 + state[f"{name}.bias"].double()
    return y


def gradual_codes(state: State, x: Tensor) -> Tensor:
    c1, c2, c3 = levels(state, x)
    p2 = enlarged(c3, c2.shape) + conv(state, "latlayer1", c2)
    p1 = enlarged(p2, c1.shape) + conv(state, "latlayer2", c1)
    rows = []
    for row in range(ROWS):
        y, convolutions = (c3, 4) if row < 3 else (p2, 5) if row < 7 else (p1, 6)
        for index in range(convolutions):
            y = conv(state, f"styles.{row}.convs.{2 * index}", y, 2)
            y = torch.where(y > 0, y, 0.01 * y)
        rows.append(linear(state, f"styles.{row}.linear", y[:, :, 0, 0]))
    return torch.stack(rows, 1)


def into_w_codes(state: State, x: Tensor) -> Tensor:
    _, _, c3 = levels(state, x)
    return linear(state, "linear", c3.mean((2, 3)))[:, None].repeat(1, ROWS, 1)


def into_w_plus_codes(state: State, x: Tensor) -> Tensor:
    y = norm(state, "output_layer_2.0", levels(state, x)[2])
    for axis in (2, 3):
        side = y.shape[axis]
        windows = [range(i * side // 7, -(-(i + 1) * side // 7)) for i in range(7)]
        y = torch.stack([y.index_select(axis, torch.tensor(w)).mean(axis) for w in windows], axis)
    y = y.flatten(1) @ state["output_layer_2.3.weight"].double().T
    y = y + state["output_layer_2.3.bias"].double()
    return linear(state, "linear", y).reshape(len(x), ROWS, 512)


def assert_close(found: Tensor, wanted: Tensor) -> None:
    assert found.shape == wanted.shape
    assert (found.double() - wanted).abs().max() < PRECISION * wanted.std()


@pytest.mark.parametrize("size", SIZES)
def test_rows_are_read_off_the_feature_pyramid(
    gradual: GradualStyleEncoder, size: tuple[int, int]
) -> None:
    x = pictures(size)
    assert_close(gradual(x), gradual_codes(gradual.state_dict(), x))


@pytest.mark.parametrize(
    ("network", "codes"),
    [
        (BackboneEncoderUsingLastLayerIntoW, into_w_codes),
        (BackboneEncoderUsingLastLayerIntoWPlus, into_w_plus_codes),
    ],
)
def test_last_layer_variants_read_the_last_features(
    network: Callable[[int], IRSE50], codes: Callable[[State, Tensor], Tensor]
) -> None:
    made = lively(network(ROWS))
    x = pictures((64, 48))
    assert_close(made(x), codes(made.state_dict(), x))


@torch.no_grad()
def test_e4e_rows_are_the_first_plus_a_delta_each(gradual: GradualStyleEncoder) -> None:
    with torch.device("meta"):
        e4e = Encoder4Editing(ROWS)
    e4e.load_state_dict(gradual.state_dict(), assign=True)
    x = pictures((64, 64))
    rows, found = gradual(x), e4e.eval()(x)
    torch.testing.assert_close(found[:, 0], rows[:, 0], rtol=0, atol=0)
    # One float32 addition.
    torch.testing.assert_close(found[:, 1:], rows[:, :1] + rows[:, 1:], rtol=0, atol=0)


def test_the_published_encoder_has_its_keys_and_shapes() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(t.shape) for key, t in GradualStyleEncoder(18).state_dict().items()}
        e4e = {key: tuple(t.shape) for key, t in Encoder4Editing(18).state_dict().items()}
    assert shapes == e4e
    assert len(shapes) == 621
    assert shapes["body.23.res_layer.5.fc1.weight"] == (32, 512, 1, 1)
    assert {key.split(".")[1] for key in shapes if "shortcut" in key} == {"3", "7", "21"}
    convolutions = [sum(f"styles.{row}.convs." in key for key in shapes) // 2 for row in range(18)]
    assert convolutions == [4] * 3 + [5] * 4 + [6] * 11


@pytest.mark.parametrize("rows", [4, 6, 7])
def test_small_resolutions_have_fewer_rows_than_levels(rows: int) -> None:
    with torch.device("meta"):
        assert GradualStyleEncoder(rows)(pictures((64, 64)).to("meta")).shape == (2, rows, 512)


class Sums(nn.Module):
    """A network of closed form: every number of a code is the sum of its picture."""

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, 10, 512)."""
        return picture.sum((1, 2, 3))[:, None, None].expand(-1, 10, 512)


def test_codes_are_absolute_and_the_mean_is_part_of_the_weights() -> None:
    mean = torch.randn(10, 512)
    encoder = Encoder(Sums(), mean)
    x = pictures((256, 256))
    torch.testing.assert_close(encoder(x), mean + x.sum((1, 2, 3))[:, None, None])
    assert encoder.state_dict().keys() == {"mean"}
    assert (encoder.n_latent, encoder.resolution) == (10, 64)
    assert (encoder.input_size, encoder.side) == ((256, 256), 256)
    cars = Encoder(Sums(), torch.zeros(16, 512), (192, 256))
    assert (cars.resolution, cars.input_size, cars.side) == (512, (192, 256), 256)


@pytest.mark.parametrize(
    "picture",
    [
        torch.zeros(3, 192, 256),
        torch.zeros(1, 1, 192, 256),
        torch.zeros(1, 3, 256, 256),
        torch.zeros(1, 3, 256, 192),
        torch.zeros(1, 192, 256, 3),
        torch.zeros(1, 3, 192, 256, dtype=torch.uint8),
        torch.zeros(1, 3, 192, 256, dtype=torch.float64),
    ],
    ids=lambda picture: f"{picture.dtype}{tuple(picture.shape)}",
)
def test_pictures_of_another_shape_or_type_are_refused(picture: Tensor) -> None:
    encoder = Encoder(Sums(), torch.zeros(10, 512), (192, 256))
    with pytest.raises(InvalidInput, match=r"picture: found .*\(N, 3, 192, 256\)") as refused:
        encoder(picture)
    assert refused.value.field == "picture"
    assert str(tuple(picture.shape)) in str(refused.value)
