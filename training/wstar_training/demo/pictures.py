"""The rendered picture sets of the demo world, drawn once and kept in files.

The sets are disjoint draws: what trains a network never measures it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from wstar_training.demo.population import Population, sample
from wstar_training.demo.renderer import SIZE, render

Split = Literal["networks", "validation", "flow", "probe", "test", "further"]
SEEDS: dict[Split, int] = {
    "networks": 1, "validation": 2, "flow": 3, "probe": 4, "test": 5, "further": 6,
}  # fmt: skip
_CHUNK = 1000


@dataclass(frozen=True)
class PictureSet:
    """Pictures uint8 (count, 64, 64, 3) RGB and their attributes bool (count, 40)."""

    pictures: NDArray[np.uint8]
    attributes: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Pictures of the given rows as float32 (N, 3, 64, 64) in [-1, 1]."""
        return to_float(torch.from_numpy(np.ascontiguousarray(self.pictures[rows])))


def to_float(pictures: torch.Tensor) -> torch.Tensor:
    """uint8 (N, S, S, 3) to float32 (N, 3, S, S) in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0


def to_bytes(pictures: torch.Tensor) -> NDArray[np.uint8]:
    """float32 (N, 3, S, S), nominally in [-1, 1], to uint8 (N, S, S, 3): clamp(127.5x + 128)."""
    levels = (pictures * 127.5 + 128.0).clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().numpy()


def population(split: Split, count: int) -> Population:
    """The faces of a set; a larger set begins with the same faces."""
    return sample(SEEDS[split], count)


def picture_set(folder: Path, split: Split, count: int) -> PictureSet:
    """Load a set, drawing what its file lacks; an interrupted drawing goes on where it stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    faces = population(split, count)
    path = folder / f"{split}.bytes"
    picture_bytes = SIZE * SIZE * 3
    done = path.stat().st_size // picture_bytes if path.exists() else 0
    if done < count:
        with path.open("r+b" if path.exists() else "wb") as file:
            file.seek(done * picture_bytes)
            for start in range(done, count, _CHUNK):
                file.write(render(faces.slice(start, min(start + _CHUNK, count))).tobytes())
                if start % (10 * _CHUNK) == 0:
                    print(f"drawing {split}: {start} of {count}", file=sys.stderr, flush=True)
    pictures = np.memmap(path, np.uint8, "r", shape=(count, SIZE, SIZE, 3))
    return PictureSet(pictures, faces.attributes)
