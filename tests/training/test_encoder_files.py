"""pSp and e4e files become the encoder they hold, or are refused by what is wrong with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wstar.errors import CheckpointError
from wstar_training.models.e4e import Encoder4Editing
from wstar_training.models.psp import (
    BackboneEncoderUsingLastLayerIntoW,
    BackboneEncoderUsingLastLayerIntoWPlus,
    GradualStyleEncoder,
)
from wstar_training.models.weights.encoders import load_encoder

ROWS = 4  # Of a generator of 8 px, the smallest.
NETWORKS = [
    GradualStyleEncoder,
    BackboneEncoderUsingLastLayerIntoW,
    BackboneEncoderUsingLastLayerIntoWPlus,
    Encoder4Editing,
]
PSP = {
    "encoder_type": "GradualStyleEncoder",
    "input_nc": 3,
    "label_nc": 0,
    "output_size": 8,
    "learn_in_w": False,
    "start_from_latent_avg": True,
    "dataset_type": "ffhq_encode",
}
E4E = {
    "encoder_type": "Encoder4Editing",
    "stylegan_size": 8,
    "start_from_latent_avg": True,
    "dataset_type": "ffhq_encode",
}
ABSENT = object()


def state(
    network: type[nn.Module], rows: int = ROWS, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """The published keys and shapes; tensors overlap in one storage, so that files are small."""
    with torch.device("meta"):
        made = network(rows).state_dict()
    largest = max(tensor.numel() for tensor in made.values())
    numbers = torch.randn(largest + len(made), generator=torch.Generator().manual_seed(1)).to(dtype)
    counter = torch.tensor(7)
    return {
        f"encoder.{key}": numbers[start : start + tensor.numel()].view(tensor.shape)
        if tensor.is_floating_point()
        else counter
        for start, (key, tensor) in enumerate(made.items())
    }


@pytest.fixture(scope="module")
def gradual() -> dict[str, Tensor]:
    return state(GradualStyleEncoder)


def changed(content: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {k: v for k, v in (content | changes).items() if v is not ABSENT}


def write(folder: Path, tensors: object, opts: object, mean: Tensor | None = None) -> Path:
    content = {"state_dict": tensors, "opts": opts}
    path = folder / "best_model.pt"
    torch.save(content if mean is None else content | {"latent_avg": mean}, path)
    return path


@pytest.mark.parametrize("network", NETWORKS)
def test_every_type_is_read_under_its_own_class(network: type[nn.Module], tmp_path: Path) -> None:
    tensors = state(network)
    opts = E4E if network is Encoder4Editing else PSP | {"encoder_type": network.__name__}
    mean = torch.randn(ROWS, 512)
    encoder = load_encoder(str(write(tmp_path, tensors, opts, mean)))
    assert type(encoder.network) is network
    assert (encoder.n_latent, encoder.resolution, encoder.input_size) == (4, 8, (256, 256))
    found = {key.replace("network.", "encoder."): t for key, t in encoder.state_dict().items()}
    wanted = tensors | {"mean": mean}
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@torch.no_grad()
def test_a_file_encodes_as_the_network_that_wrote_it(tmp_path: Path) -> None:
    network = BackboneEncoderUsingLastLayerIntoW(ROWS).eval()
    tensors = {f"encoder.{key}": tensor for key, tensor in network.state_dict().items()}
    mean = torch.randn(1, 512)
    opts = PSP | {"encoder_type": type(network).__name__, "learn_in_w": True}
    x = torch.rand(1, 3, 256, 256) * 2 - 1
    w = load_encoder(write(tmp_path, tensors, opts, mean))(x)
    assert w.shape == (1, ROWS, 512)
    assert torch.equal(w, network(x) + mean)


@pytest.mark.parametrize("shape", [(ROWS, 512), (1, 512), (512,)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_mean_of_any_published_shape_is_added_to_every_row(
    gradual: dict[str, Tensor], shape: tuple[int, ...], dtype: torch.dtype, tmp_path: Path
) -> None:
    mean = torch.randn(shape).to(dtype)
    encoder = load_encoder(write(tmp_path, gradual, PSP, mean))
    assert encoder.mean.dtype == torch.float32
    assert torch.equal(encoder.mean, mean.float().expand(ROWS, 512))


def test_a_mean_is_left_out_where_training_did_not_start_from_it(
    gradual: dict[str, Tensor], tmp_path: Path
) -> None:
    opts = PSP | {"start_from_latent_avg": False}
    encoder = load_encoder(write(tmp_path, gradual, opts, torch.randn(ROWS, 512)))
    assert torch.equal(encoder.mean, torch.zeros(ROWS, 512))


def test_options_of_a_training_run_may_be_a_namespace(
    gradual: dict[str, Tensor], tmp_path: Path
) -> None:
    opts = argparse.Namespace(**changed(PSP, learn_in_w=ABSENT, input_nc=ABSENT, label_nc=ABSENT))
    assert load_encoder(write(tmp_path, gradual, opts, torch.zeros(512))).n_latent == ROWS


def test_old_psp_files_are_of_1024_px(tmp_path: Path) -> None:
    opts = changed(PSP, output_size=ABSENT)
    encoder = load_encoder(write(tmp_path, state(GradualStyleEncoder, 18), opts, torch.zeros(512)))
    assert (encoder.n_latent, encoder.resolution) == (18, 1024)


@pytest.mark.parametrize(
    "opts",
    [E4E, E4E | {"output_size": 1024}, changed(E4E, stylegan_size=ABSENT)],
    ids=["its own size", "a size that means nothing", "no size"],
)
def test_e4e_files_have_a_size_of_their_own(
    gradual: dict[str, Tensor], opts: dict[str, Any], tmp_path: Path
) -> None:
    encoder = load_encoder(write(tmp_path, gradual, opts, torch.zeros(512)))
    assert isinstance(encoder.network, Encoder4Editing)
    assert encoder.n_latent == ROWS


def test_cars_are_wider_than_high(tmp_path: Path) -> None:
    opts = E4E | {"dataset_type": "cars_encode", "stylegan_size": 512}
    encoder = load_encoder(write(tmp_path, state(Encoder4Editing, 16), opts, torch.zeros(512)))
    assert (encoder.n_latent, encoder.input_size) == (16, (192, 256))


def test_the_decoder_and_the_training_are_left_where_they_are(
    gradual: dict[str, Tensor], tmp_path: Path
) -> None:
    decoder = {"decoder.convs.0.conv.weight": torch.zeros(3, dtype=torch.uint8)}
    path = write(tmp_path, gradual | decoder, PSP, torch.zeros(512))
    assert not any("decoder" in key for key in load_encoder(path).state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_single(dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = state(BackboneEncoderUsingLastLayerIntoW, dtype=dtype)
    opts = PSP | {"encoder_type": "BackboneEncoderUsingLastLayerIntoW"}
    encoder = load_encoder(write(tmp_path, tensors, opts, torch.zeros(512)))
    for key, tensor in encoder.network.state_dict().items():
        wanted = tensors[f"encoder.{key}"]
        assert tensor.dtype == (torch.float32 if wanted.is_floating_point() else torch.int64)
        assert torch.equal(tensor, wanted.to(tensor.dtype))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder_type": "ResNetGradual"}, ["opts.encoder_type", "'ResNetGradual'", "Encoder4"]),
        ({"encoder_type": ABSENT}, ["opts.encoder_type", "'GradualStyleEncoder'", "nothing"]),
        ({"encoder_type": ["x"]}, ["opts.encoder_type", "['x']"]),
        ({"input_nc": 19}, ["opts.input_nc", "3", "19"]),
        ({"label_nc": 19}, ["opts.label_nc", "0", "19"]),
        ({"output_size": 1024}, ["opts.output_size 1024", "expected the 18 styles", "found 4"]),
        ({"output_size": ABSENT}, ["opts.output_size 1024", "expected the 18 styles", "found 4"]),
        ({"output_size": 12}, ["opts.output_size", "8 to 1024", "12"]),
        ({"output_size": "8"}, ["opts.output_size", "8 to 1024", "'8'"]),
        ({"output_size": None}, ["opts.output_size", "8 to 1024", "None"]),
        ({"start_from_latent_avg": ABSENT}, ["opts.start_from_latent_avg", "True", "nothing"]),
        ({"start_from_latent_avg": "no"}, ["opts.start_from_latent_avg", "True", "'no'"]),
        ({"encoder_type": "Encoder4Editing", "stylegan_size": 64}, ["opts.stylegan_size 64"]),
        (
            {"encoder_type": "BackboneEncoderUsingLastLayerIntoWPlus"},
            ["expected the 4 styles", "found 0"],
        ),
        (
            {"encoder_type": "BackboneEncoderUsingLastLayerIntoW"},
            ["encoder.latlayer1.weight", "no such key", "(512, 256, 1, 1)"],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_refusals_name_the_option(
    gradual: dict[str, Tensor], changes: dict[str, object], words: list[str], tmp_path: Path
) -> None:
    path = write(tmp_path, gradual, changed(PSP, **changes), torch.zeros(512))
    with pytest.raises(CheckpointError) as refused:
        load_encoder(path)
    assert all(word in str(refused.value) for word in [str(path), *words])


@pytest.mark.parametrize(
    ("mean", "found"),
    [
        (None, "nothing"),
        (torch.zeros(18, 512), "(18, 512)"),
        (torch.zeros(1, ROWS, 512), "(1, 4, 512)"),
        (torch.zeros(9216), "(9216,)"),
        (torch.zeros(512, dtype=torch.int64), "torch.int64"),
    ],
    ids=["none", "another resolution", "batched", "flat", "whole numbers"],
)
def test_refusals_name_the_mean(
    gradual: dict[str, Tensor], mean: Tensor | None, found: str, tmp_path: Path
) -> None:
    path = write(tmp_path, gradual, PSP, mean)
    with pytest.raises(CheckpointError) as refused:
        load_encoder(path)
    assert all(word in str(refused.value) for word in [str(path), "latent_avg", "(4, 512)", found])


@pytest.mark.parametrize(
    ("key", "tensor", "words"),
    [
        ("latlayer2.bias", None, ["(512,)", "nothing"]),
        ("latlayer2.bias", torch.zeros(3), ["(512,)", "(3,)"]),
        ("latlayer3.bias", torch.zeros(3), ["no such key", "(3,)"]),
        ("styles.2.linear.weight", torch.zeros(2, 2), ["(512, 512)", "(2, 2)"]),
        ("input_layer.0.weight", torch.zeros(64, 19, 3, 3), ["(64, 3, 3, 3)", "(64, 19, 3, 3)"]),
    ],
)
def test_refusals_name_the_tensor(
    gradual: dict[str, Tensor], key: str, tensor: Tensor | None, words: list[str], tmp_path: Path
) -> None:
    key = f"encoder.{key}"
    tensors = changed(gradual, **{key: ABSENT if tensor is None else tensor})
    path = write(tmp_path, tensors, PSP, torch.zeros(512))
    with pytest.raises(CheckpointError) as refused:
        load_encoder(path)
    assert all(word in str(refused.value) for word in [str(path), key, *words])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"g_ema": {}, "latent_avg": torch.zeros(512)}, ["state_dict", "g_ema, latent_avg"]),
        ({"state_dict": {}}, ["opts", "state_dict"]),
        ({"state_dict": {}, "opts": [1]}, ["opts", "list"]),
        ({"state_dict": [1], "opts": PSP}, ["state_dict", "list"]),
        ({"state_dict": {}, "opts": PSP}, ["styles", "found 0"]),
        (torch.zeros(18, 512), ["(18, 512)"]),
    ],
    ids=["a generator", "no options", "no dict of options", "no state", "no encoder", "codes"],
)
def test_files_of_other_families_are_refused(
    content: object, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError) as refused:
        load_encoder(path)
    assert all(word in str(refused.value) for word in [str(path), *words])
