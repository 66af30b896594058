"""A small study of own files, as files of the real layouts, and the command that trains on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wstar.attributes import ATTRIBUTES
from wstar_training.checkpoint import file_sha256, save
from wstar_training.encoding.journal import Plan
from wstar_training.encoding.pictures import find
from wstar_training.encoding.store import opened
from wstar_training.models.stylegan2 import Generator
from wstar_training.models.vgg import VGG16
from wstar_training.models.vggface import VGGFace
from wstar_training.models.weights.vggface import VGGFACE_LAYOUTS

RESOLUTION, ROWS, COUNT = 16, 6, 30


def make_files(tmp_path: Path) -> Path:
    """Write pictures, labels, codes and networks of one small study; return their folder."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    lines = [str(COUNT), " ".join(ATTRIBUTES)]
    for index in range(COUNT):
        levels = random.integers(0, 256, (4, 4, 3), np.uint8)
        picture = Image.fromarray(levels).resize((32, 32), Image.Resampling.BILINEAR)
        picture.save(tmp_path / "pictures" / f"{index}.png")
        values = random.choice([-1, 1], len(ATTRIBUTES))
        lines.append(f"{index}.jpg  " + " ".join(map(str, values)))
    (tmp_path / "attributes.txt").write_text("\n".join(lines) + "\n")
    generator = Generator(RESOLUTION, {4: 8, 8: 8, 16: 4})
    save(tmp_path / "generator.pt", {"g_ema": generator.state_dict()})
    save(tmp_path / "vgg.pth", VGG16(2).state_dict())
    face = VGGFace(2, 16, 4)
    names = VGGFACE_LAYOUTS["dag"].names(face)
    save(tmp_path / "face.pth", {names[key]: value for key, value in face.state_dict().items()})
    # T never loads the encoder: it only makes sure that it is the one that made the codes.
    save(tmp_path / "encoder.pt", {"nothing": torch.zeros(1)})
    plan = Plan(
        encoder_file="encoder.pt",
        encoder_sha256=file_sha256(tmp_path / "encoder.pt"),
        side=32,
        n_latent=ROWS,
        preprocessing="",
        landmarks_sha256=None,
        batch=COUNT,
        device="cpu",
        pictures=find(tmp_path / "pictures"),
    )
    with opened(tmp_path / "codes", plan) as store:
        store.add(random.standard_normal((COUNT, ROWS, 512)).astype(np.float32), {})
        store.finish()
    return tmp_path


def arguments(files: Path, **changes: str) -> list[str]:
    """A command line of a few steps."""
    given = {
        "run": str(files / "run"),
        "codes": str(files / "codes"),
        "pictures": str(files / "pictures"),
        "attributes": str(files / "attributes.txt"),
        "encoder": str(files / "encoder.pt"),
        "generator": str(files / "generator.pt"),
        "judge": str(files / "vgg.pth"),
        "identity": str(files / "face.pth"),
        "steps": "3",
        "id-steps": "3",
        "batch": "4",
        "hidden": "8",
        "perceptual-side": "32",
        **changes,
    }
    return ["flow", *(part for key, value in given.items() for part in (f"--{key}", value))]
