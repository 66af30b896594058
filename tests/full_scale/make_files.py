"""Files of the paper's section 4.1 at full size: real containers, weights made by a rule.

A tensor is a function of its key and shape alone (normal noise seeded by the CRC of the key), so
every machine makes the same files. Nobody's trained weights are needed, and the networks are as
large, as slow and as demanding as trained ones.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.files import write_file
from wstar_training.checkpoint import save
from wstar_training.models.mapping import MappingNetwork
from wstar_training.models.psp import GradualStyleEncoder
from wstar_training.models.stylegan2 import Generator, channels_of
from wstar_training.models.vgg import VGG16
from wstar_training.models.vggface import VGGFace
from wstar_training.models.weights.vggface import VGGFACE_LAYOUTS

RESOLUTION, N_LATENT = 1024, 18
PICTURES = 24
FACES = Path(__file__).resolve().parents[2] / "service/wstar_service/demo"


def filled(network: nn.Module, scales: Mapping[str, float]) -> dict[str, Tensor]:
    """A state dict of the network's keys and shapes, its numbers by the rule.

    scales: standard deviation by the end of a key; otherwise that which keeps a ReLU's variance.
    """
    return {key: _tensor(key, value, scales) for key, value in network.state_dict().items()}


def _tensor(key: str, like: Tensor, scales: Mapping[str, float]) -> Tensor:
    if not like.is_floating_point():
        return torch.zeros(like.shape, dtype=like.dtype)
    if key.endswith("kernel"):
        row = torch.tensor([1.0, 3.0, 3.0, 1.0])
        return torch.outer(row, row).div(16.0)
    random = np.random.default_rng(zlib.crc32(key.encode()))
    noise = torch.from_numpy(random.standard_normal(like.shape, dtype=np.float32))
    for end, scale in scales.items():
        if key.endswith(end):
            return noise.mul(scale)
    if key.endswith("running_var"):
        return 1.0 + 0.02 * noise.abs()
    if key.endswith(("running_mean", "bias")):
        return 0.02 * noise
    if like.ndim == 1 and not key.endswith(".2.weight"):  # Of batch normalisations.
        return 0.7 + 0.05 * noise
    if like.ndim == 1:  # PReLU's slopes.
        return 0.25 + 0.05 * noise
    return noise * float((2.0 / like[0].numel()) ** 0.5)


def main(folder: Path) -> None:
    """Write every file below `folder`; one that is there is left."""
    with torch.device("meta"):
        encoder = GradualStyleEncoder(N_LATENT)
        generator = Generator(
            RESOLUTION, channels_of(RESOLUTION), style=MappingNetwork(512, [512] * 8)
        )
        vgg, vggface = VGG16(), VGGFace()
    layers = {
        "modulation.weight": 0.5,
        "activate.bias": 0.1,
        "noise.weight": 0.1,
        "input.input": 1.0,
        "conv.weight": 1.0,
        **{f"noise_{index}": 1.0 for index in range(N_LATENT)},
        **{f"style.{index}.weight": 100.0 for index in range(1, 9)},
    }
    # Codes then spread about their mean as those of real faces do: by 1.
    lively = {"linear.weight": 2.0}
    decoder = filled(generator, layers)
    for key, value in decoder.items():
        if key.endswith("modulation.bias"):
            value += 1.0
        if key.startswith("to_rgb") and key.endswith("conv.weight"):
            value *= 0.2
    mean = torch.from_numpy(
        np.random.default_rng(0).standard_normal((N_LATENT, 512), dtype=np.float32)
    )
    psp = {
        "state_dict": {
            **{f"encoder.{key}": value for key, value in filled(encoder, lively).items()},
            **{f"decoder.{key}": value for key, value in decoder.items()},
        },
        "opts": {
            "encoder_type": "GradualStyleEncoder",
            "input_nc": 3,
            "label_nc": 0,
            "output_size": RESOLUTION,
            "start_from_latent_avg": True,
            "learn_in_w": False,
        },
        "latent_avg": mean,
    }
    _write(folder / "psp_ffhq_encode.pt", psp)
    _write(folder / "stylegan2-ffhq-config-f.pt", {"g_ema": decoder, "latent_avg": mean.mean(0)})
    del psp, decoder
    _write(folder / "vgg16-397923af.pth", filled(vgg, {}))
    names = VGGFACE_LAYOUTS["dag"].names(vggface)
    face = {names[key]: value for key, value in filled(vggface, {}).items()}
    _write(folder / "vgg_face_dag.pth", face)
    _faces(folder)


def _write(path: Path, content: Mapping[str, object]) -> None:
    if not path.exists():
        save(path, dict(content))
    print(f"{path.name}: {path.stat().st_size / 1e9:.2f} GB")


def _faces(folder: Path) -> None:
    """Sample faces of the demo world at 1024 px, and an attribute list in CelebAMask-HQ's form.

    An attribute is a colour of a place: brighter there than half of the pictures.
    """
    pictures = folder / "CelebA-HQ-img"
    pictures.mkdir(parents=True, exist_ok=True)
    levels = []
    for index, path in enumerate(sorted(FACES.rglob("*.png"))[:PICTURES]):
        face = Image.open(path).convert("RGB")
        large = face.resize((RESOLUTION, RESOLUTION), Image.Resampling.BICUBIC)
        large.save(pictures / f"{index}.jpg", quality=95)
        levels.append(np.asarray(face.resize((4, 4), Image.Resampling.BOX)).ravel())
    brighter = np.array(levels)[:, : len(ATTRIBUTES)] > np.median(levels, 0)[: len(ATTRIBUTES)]
    rows = [str(len(levels)), " ".join(ATTRIBUTES)]
    for index, values in enumerate(np.where(brighter, 1, -1)):
        rows.append(f"{index}.jpg  " + " ".join(map(str, values)))
    text = "\n".join(rows) + "\n"
    write_file(folder / "CelebAMask-HQ-attribute-anno.txt", text.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
