"""VGGFace files in every layout, and ArcFace files, become the identity network they hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.models.arcface import ArcFace
from wstar_training.models.vggface import Layer, VGGFace
from wstar_training.models.weights.identity import Layout, load_identity

CONVOLUTIONS = [
    (block, position) for block, many in enumerate((2, 2, 3, 3, 3), 1) for position in range(many)
]
FC = ("fc6", "fc7", "fc8")

# Modules of a file, convolutions first; `position` counts from 0.
NAMES: dict[Layout, Callable[[], list[str]]] = {
    "dag": lambda: [f"conv{b}_{p + 1}" for b, p in CONVOLUTIONS] + [*FC],
    "t7": lambda: [f"conv_{b}_{p + 1}" for b, p in CONVOLUTIONS] + [*FC],
    "module-dict": lambda: (
        [f"features.conv_{b}_{p + 1}" for b, p in CONVOLUTIONS] + [f"fc.{fc}" for fc in FC]
    ),
    "conv-blocks": lambda: [f"conv{b}.convs.{p}" for b, p in CONVOLUTIONS] + ["fc1", "fc2", "fc3"],
}
# Order of planes, white, and what is taken off each plane fed, as the four codes do it.
FED = {
    "dag": ([0, 1, 2], 255.0, (129.1863, 104.7624, 93.5940)),
    "t7": ([2, 1, 0], 255.0, (129.1863, 104.7624, 93.5940)),
    "module-dict": ([2, 1, 0], 255.0, (129.1863, 104.7624, 93.5940)),
    "conv-blocks": ([0, 1, 2], 1.0, (93.5940 / 255, 104.7624 / 255, 129.1863 / 255)),
}
LAYOUTS = list(NAMES)
WIDTH, FEATURES, CLASSES = 2, 6, 5


@pytest.fixture
def weights() -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of the sixteen layers, narrow, in their order."""
    widths = [3] + [WIDTH * factor for factor in (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)]
    sizes = [(out, into, 3, 3) for into, out in zip(widths, widths[1:], strict=False)]
    linear = [8 * WIDTH * 49, FEATURES, FEATURES, CLASSES]
    shapes = [*sizes, *((out, into) for into, out in zip(linear, linear[1:], strict=False))]
    fan = [torch.Size(shape[1:]).numel() for shape in shapes]
    return [
        (torch.randn(shape) * (2 / n) ** 0.5, torch.randn(shape[0]) * 0.1)
        for shape, n in zip(shapes, fan, strict=True)
    ]


def state(layout: Layout, weights: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    content: dict[str, Tensor] = {}
    for name, (weight, bias) in zip(NAMES[layout](), weights, strict=True):
        content |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return content


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def plain(x: Tensor, weights: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """VGGFace written out: every layer's output for x, which is fed as it is."""
    for (_, position), following, (weight, bias) in zip(
        CONVOLUTIONS, [*CONVOLUTIONS[1:], (6, 0)], weights, strict=False
    ):
        x = functional.conv2d(x, weight, bias, padding=1).relu()
        if following[1] <= position:
            x = functional.max_pool2d(x, 2)
    fc6, fc7, fc8 = weights[-3:]
    x6 = functional.linear(x.flatten(1), *fc6).relu()
    x7 = functional.linear(x6, *fc7).relu()
    return {"fc6": x6, "fc7": x7, "fc8": functional.linear(x7, *fc8)}


def close(found: Tensor, wanted: Tensor) -> None:
    # float32 sums in another order, after inputs near 100: 1e-6 of the largest output.
    assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("layer", [None, *FC])
@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_every_layout_is_fed_what_its_own_code_feeds(
    tmp_path: Path, weights: list[tuple[Tensor, Tensor]], layout: Layout, layer: Layer | None
) -> None:
    identity = load_identity(saved(tmp_path / "f.pth", state(layout, weights)), layer=layer)
    picture = torch.rand(2, 3, 224, 224) * 2 - 1
    order, white, mean = FED[layout]
    fed = (picture[:, order] + 1) / 2 * white - torch.tensor(mean)[:, None, None]
    wanted = plain(fed, weights)[layer or "fc7"]
    found = identity(picture)
    assert found.dtype == torch.float32 and wanted.abs().max() > 0
    close(found, wanted)
    settings = identity.input
    assert (settings.layout, settings.layer, settings.side) == (layout, layer or "fc7", 224)
    assert (settings.scale, settings.mean) == (white, mean)


@torch.no_grad()
def test_layouts_differ_in_names_and_input_alone(
    tmp_path: Path, weights: list[tuple[Tensor, Tensor]]
) -> None:
    picture = torch.rand(1, 3, 224, 224) * 2 - 1
    embeddings = []
    for layout in LAYOUTS:
        path = saved(tmp_path / "f.pth", state(layout, weights))
        same = load_identity(path, layout, channels="BGR", scale=255, mean=(3.0, 2.0, 1.0))
        assert same.input.channels == "BGR" and same.input.mean == (3.0, 2.0, 1.0)
        embeddings.append(same(picture))
    for embedding in embeddings[1:]:
        assert torch.equal(embedding, embeddings[0])


@pytest.mark.parametrize("side", [64, 1024])
@torch.no_grad()
def test_pictures_of_other_sides_are_resized(
    tmp_path: Path, weights: list[tuple[Tensor, Tensor]], side: int
) -> None:
    identity = load_identity(saved(tmp_path / "f.pth", state("dag", weights)))
    ramp = torch.linspace(-1, 1, side).expand(1, 3, side, side)
    fed = identity.input(ramp)
    assert fed.shape == (1, 3, 224, 224)
    # Pixel centres move with the side; inside the borders a ramp stays that ramp.
    centres = (torch.arange(224) + 0.5) * side / 224 - 0.5
    wanted = centres / (side - 1) * 255.0 - 129.1863
    torch.testing.assert_close(fed[0, 0, 100, 8:-8], wanted[8:-8], rtol=0.0, atol=1e-2)
    assert identity(ramp).shape == (1, FEATURES)


def test_gradients_reach_the_picture_and_nothing_else(
    tmp_path: Path, weights: list[tuple[Tensor, Tensor]]
) -> None:
    identity = load_identity(saved(tmp_path / "f.pth", state("conv-blocks", weights))).train()
    assert not any(module.training for module in identity.modules())
    assert not any(parameter.requires_grad for parameter in identity.parameters())
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    identity(picture).square().sum().backward()
    assert picture.grad is not None and picture.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_become_float32(
    tmp_path: Path, weights: list[tuple[Tensor, Tensor]], dtype: torch.dtype
) -> None:
    content = {key: value.to(dtype) for key, value in state("module-dict", weights).items()}
    identity = load_identity(saved(tmp_path / "f.pth", content))
    assert {p.dtype for p in identity.parameters()} == {torch.float32}
    assert isinstance(identity.network, VGGFace)
    assert torch.equal(identity.network.fc8.bias, content["fc.fc8.bias"].float())


@torch.no_grad()
def test_arcface_is_recognised_and_has_no_settings(tmp_path: Path) -> None:
    path = saved(tmp_path / "f.pth", ArcFace().state_dict())
    identity = load_identity(path)
    assert isinstance(identity.network, ArcFace) and identity.input.layout == "arcface"
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    # What is fed is the picture itself, bit by bit.
    assert torch.equal(identity.input(picture), picture)
    assert torch.equal(identity(picture), identity.network(picture))
    settings: list[dict[str, Any]] = [
        {"channels": "RGB"},
        {"scale": 255},
        {"mean": (0.0, 0.0, 0.0)},
        {"layer": "fc7"},
    ]
    for given in settings:
        with pytest.raises(InvalidInput, match=next(iter(given))):
            load_identity(path, **given)
    with pytest.raises(CheckpointError, match=r"f\.pth.*'dag'.*'arcface'"):
        load_identity(path, "dag")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_the_keys_contradict_is_refused(
    tmp_path: Path, weights: list[tuple[Tensor, Tensor]], layout: Layout
) -> None:
    path = saved(tmp_path / "vgg_face_dag.pth", state(layout, weights))
    others: list[Layout] = ["arcface", *LAYOUTS]
    for other in others:
        if other != layout:
            with pytest.raises(CheckpointError, match=f"{other!r}.*{layout!r}"):
                load_identity(path, other)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("at", [0, 1, 13, 14, 15])
def test_wrong_tensors_are_refused_under_the_names_of_the_file(
    tmp_path: Path, weights: list[tuple[Tensor, Tensor]], layout: Layout, at: int
) -> None:
    right = state(layout, weights)
    name = NAMES[layout]()[at]
    key, expected = f"{name}.bias", str(tuple(weights[at][1].shape))
    wrong = [
        ({k: v for k, v in right.items() if k != key}, (key, expected, "nothing")),
        (right | {key: torch.zeros(7)}, (key, expected, "(7,)")),
        (right | {f"{name}.gain": torch.zeros(1)}, (f"{name}.gain", "no such key", "(1,)")),
    ]
    for content, said in wrong:
        path = saved(tmp_path / "f.pth", content)
        with pytest.raises(CheckpointError) as refusal:
            load_identity(path)
        for words in (str(path), *said):
            assert words in str(refusal.value)


def test_other_files_are_refused_by_their_first_keys(
    tmp_path: Path, weights: list[tuple[Tensor, Tensor]]
) -> None:
    path = saved(tmp_path / "f.pth", {"g_ema": {}, "latent_avg": torch.zeros(512)})
    with pytest.raises(CheckpointError, match=r"f\.pth.*VGGFace.*conv1_1.*g_ema, latent_avg"):
        load_identity(path)
    without = {k: v for k, v in state("dag", weights).items() if k != "fc6.weight"}
    with pytest.raises(CheckpointError, match=r"fc6\.weight: expected shape .* found nothing"):
        load_identity(saved(path, without))
    saved(path, state("dag", weights))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"f\.pth"):
        load_identity(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layout", "caffe"),
        ("channels", "GBR"),
        ("scale", 2.0),
        ("mean", (1.0, 2.0)),
        ("mean", (1.0, 2.0, float("nan"))),
        ("layer", "fc9"),
    ],
)
def test_arguments_outside_what_is_allowed_are_refused(field: str, value: object) -> None:
    arguments: dict[str, Any] = {field: value}
    with pytest.raises(InvalidInput, match=field):
        load_identity("f.pth", **arguments)
