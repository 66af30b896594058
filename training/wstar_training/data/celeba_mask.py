"""What CelebAMask-HQ adds to CelebA-HQ: head poses, and masks of the parts of a face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wstar.errors import CheckpointError, InvalidInput, WstarError
from wstar.images import decode
from wstar_training.data.lists import read_list

# In the order of painting: later parts lie over earlier ones.
PARTS = (
    "skin",
    "nose",
    "eye_g",
    "l_eye",
    "r_eye",
    "l_brow",
    "r_brow",
    "l_ear",
    "r_ear",
    "mouth",
    "u_lip",
    "l_lip",
    "hair",
    "hat",
    "ear_r",
    "neck_l",
    "neck",
    "cloth",
)
_PICTURES_PER_FOLDER = 2000
_ANGLES = (["yaw"], ["pitch"], ["roll", "raw"])  # The published header says Raw.
_MAX_MASK_BYTES = 2**24
_MAX_MASK_PIXELS = 2**24


@dataclass(frozen=True, eq=False)
class Poses:
    """Head poses of pictures.

    names: file names of the pictures, each once, in the order of the file.
    degrees: float64 (N, 3): yaw, pitch, roll.
    """

    names: tuple[str, ...]
    degrees: NDArray[np.float64]


def read_poses(path: Path) -> Poses:
    """Read `CelebAMask-HQ-pose-anno.txt`.

    Raises
    ------
    CheckpointError: file, line, what was found and what is allowed: another count of rows or
    angles, another header, an angle that is no finite number, a picture that is there twice.
    """
    file = read_list(path)
    header, rows = file.after_count()
    titles = [title.lower() for title in header.fields]
    if len(titles) != 3 or any(t not in names for t, names in zip(titles, _ANGLES, strict=True)):
        raise file.refused(header, header.text, "yaw pitch roll")
    names, degrees = [], np.empty((len(rows), 3))
    for index, row in enumerate(rows):
        name, *fields = row.fields
        try:
            degrees[index] = [float(field) for field in fields] if len(fields) == 3 else np.nan
        except ValueError:
            degrees[index] = np.nan
        if not np.isfinite(degrees[index]).all():
            raise file.refused(row, row.text, "a file name, then yaw, pitch and roll in degrees")
        names.append(name)
    file.check_pictures(rows, names)
    return Poses(tuple(names), degrees)


def mask_path(folder: Path, number: int, part: str) -> Path:
    """The mask of one of the `PARTS` of a picture, in `CelebAMask-HQ-mask-anno`.

    Raises
    ------
    InvalidInput: a number below 0, another part.
    """
    if number < 0:
        raise InvalidInput("number", number, "0 or more")
    if part not in PARTS:
        raise InvalidInput("part", part, ", ".join(PARTS))
    return folder / str(number // _PICTURES_PER_FOLDER) / f"{number:05d}_{part}.png"


def label_map(folder: Path, number: int) -> NDArray[np.uint8]:
    """Merge the masks of a picture: uint8 (H, W), 512 px as published.

    0 is background, k is `PARTS[k - 1]`. Parts without a file are not in the picture.

    Raises
    ------
    CheckpointError: no part has a file, a file that is no picture, or masks of different sizes.
    """
    merged: NDArray[np.uint8] | None = None
    for label, part in enumerate(PARTS, 1):
        path = mask_path(folder, number, part)
        if not path.is_file():
            continue
        mask = _mask(path)
        if merged is None:
            merged = np.zeros(mask.shape, np.uint8)
        if mask.shape != merged.shape:
            raise CheckpointError(
                f"{path}: expected shape {merged.shape} as the other parts, found {mask.shape}"
            )
        merged[mask] = label
    if merged is None:
        path = mask_path(folder, number, PARTS[0])
        raise CheckpointError(f"{path}: no such file, nor a mask of any other part")
    return merged


def _mask(path: Path) -> NDArray[np.bool_]:
    """Where a part is, bool (H, W)."""
    try:
        data = path.read_bytes()
        rgb = decode(data, max_bytes=_MAX_MASK_BYTES, max_pixels=_MAX_MASK_PIXELS)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except WstarError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return np.asarray(rgb[:, :, 0] != 0)
