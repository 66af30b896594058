"""New faces: codes drawn from the statistics of real ones, rendered to a contact sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wstar.errors import InvalidInput
from wstar.files import write_file
from wstar.images import encode
from wstar_training.demo.pictures import to_bytes
from wstar_training.demo.train_demo import World
from wstar_training.learning.codes import Codes

_COLUMNS = 8


def draw_codes(codes: Codes, count: int, truncation: float, seed: int) -> Tensor:
    """Codes w float32 (count, n, 512): normal with the mean and covariance of the split `flow`.

    truncation: ψ, factor on the distance from the mean code, 0 to 1.

    Raises
    ------
    InvalidInput: count below 1, or truncation outside [0, 1].
    """
    if count < 1:
        raise InvalidInput("count", count, "1 or more")
    if not 0.0 <= truncation <= 1.0:
        raise InvalidInput("truncation", truncation, "0 to 1")
    flow = codes.axes.flow(0, 1, 0)
    deviations = flow.coordinates(codes.w["flow"]).std(0)
    normal = np.random.default_rng(seed).standard_normal((count, len(deviations)))
    return flow.codes(truncation * deviations * torch.from_numpy(normal).float())


@torch.no_grad()
def contact_sheet(world: World, path: Path, count: int, truncation: float, seed: int) -> None:
    """Draw `count` new faces and write them as one picture, eight to a row."""
    w = draw_codes(world.codes, count, truncation, seed)
    faces = to_bytes(world.autoencoder.generator(w))
    side = faces.shape[1]
    sheet = Image.new("RGB", (side * min(count, _COLUMNS), side * -(-count // _COLUMNS)))
    for i, face in enumerate(faces):
        sheet.paste(Image.fromarray(face), (side * (i % _COLUMNS), side * (i // _COLUMNS)))
    write_file(path, encode(np.asarray(sheet), "PNG"))
