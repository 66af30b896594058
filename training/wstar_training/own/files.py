"""The study of a researcher's own files: StyleGAN2, encoder, VGG16, F, pictures and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wstar.errors import CheckpointError, InvalidInput
from wstar.graphs import Space
from wstar.images import RGB
from wstar_training.checkpoint import file_sha256
from wstar_training.data.labels import Labels
from wstar_training.data.partition import SPLITS
from wstar_training.editing.referee import (
    Referee,
    RefereeOptions,
    UnitVectors,
    load_referee,
    train_referee,
)
from wstar_training.encoding.landmarks import Landmarks
from wstar_training.encoding.manifest import EncodedPictures
from wstar_training.encoding.pictures import Picture, Unreadable, read
from wstar_training.learning.codes import Batch, Codes, load_codes
from wstar_training.learning.config import FlowOptions, Layout
from wstar_training.learning.distributed import ALONE, Group
from wstar_training.learning.objective import IdentityPath
from wstar_training.models.absolute import Encoder
from wstar_training.models.perceptual import LearnedDistance, PerceptualDistance
from wstar_training.models.stylegan2 import Generator
from wstar_training.models.weights import (
    load_encoder,
    load_generator,
    load_identity,
    load_lpips,
    load_perceptual,
)
from wstar_training.readout.fitted import Bools
from wstar_training.study.stages import CodeSplit, Study, make

# Two codes to train on, a pair; and three that validate, whose distances can be correlated.
_LEAST: dict[CodeSplit, int] = {"flow": 5, "probe": 2, "test": 2}
_LEAST_HELD_OUT = 3


@dataclass(frozen=True)
class Networks:
    """Files of the networks that a study is made with.

    lpips: learned weights of the judge's channels; None: its activations as they are.
    """

    encoder: Path
    generator: Path
    perceptual: Path
    identity: Path
    lpips: Path | None = None

    @property
    def given(self) -> dict[str, Path]:
        """Those that are there, by name."""
        return {name: Path(file) for name, file in asdict(self).items() if file is not None}


@dataclass(frozen=True)
class Sources:
    """What else a study is read from: the options of `wstar-train flow` of these names."""

    codes: Path
    pictures: Path
    attributes: Path
    landmarks: Path | None = None
    mapping: Path | None = None
    partition: Path | None = None


@dataclass(frozen=True)
class Settings:
    """What is chosen of a study of own files.

    perceptual_side: side in px that pictures are reduced to for the perceptual judge.
    perceptual_scale: factor of the judge's distance, the paper's; or matched to W+.
    layout: the coordinates of codes that T acts on.
    sketch: numbers kept of what the judge sees in a picture.
    """

    flow: FlowOptions
    flow_id: FlowOptions
    perceptual_side: int = 256
    perceptual_scale: float | Literal["match"] = 10.0
    layout: Layout = "rows"
    sketch: int = 4096
    penalty: float = 1e-2


@dataclass(frozen=True)
class OwnFiles(Study):
    """A run folder, the files it is made from, and its settings.

    pictures: the folder that `encoded` came from. landmarks: those that it was aligned by.
    labelled: attributes and split of `encoded.files`.
    sources: where all of that was read from. group: the processes that work at it together.
    identity_referee_file: another face network than F, which judges edits; None leaves it out.
    referee_options: of the network that reads attributes when edits are judged.
    """

    run: Path
    networks: Networks
    settings: Settings
    encoded: EncodedPictures
    pictures: Path
    landmarks: Landmarks | None
    labelled: Labels
    sources: Sources
    group: Group = ALONE
    identity_referee_file: Path | None = None
    referee_options: RefereeOptions = RefereeOptions()

    @cached_property
    def rows(self) -> Mapping[CodeSplit, NDArray[np.int64]]:
        """Rows of `encoded` by split: T learns on train, probes on validation, export on test.

        Raises
        ------
        InvalidInput: a part is too small for pairs of pictures.
        """
        rows: dict[CodeSplit, NDArray[np.int64]] = {}
        for number, (split, least) in enumerate(_LEAST.items()):
            rows[split] = self.labelled.rows[self.labelled.splits == number]
            if len(rows[split]) < least:
                found = f"{len(rows[split])} of part {SPLITS[number]}"
                raise InvalidInput("partition", found, f"{least} labelled pictures or more")
        return rows

    @cached_property
    def codes(self) -> Codes:
        """Codes by split, as the stage `codes.pt` kept them."""
        return load_codes(self.path("codes.pt"))

    def attributes(self, split: CodeSplit) -> Bools:
        """Attributes of a split."""
        number = list(_LEAST).index(split)
        return np.asarray(self.labelled.attributes[self.labelled.splits == number])

    def faces(self, split: CodeSplit) -> Batch:
        """Pictures of a split at the side the judge looks at."""
        return partial(self._batch, self.rows[split], self.settings.perceptual_side)

    def _batch(self, rows: NDArray[np.int64], side: int, some: NDArray[np.int64]) -> Tensor:
        levels = np.stack([self.picture(int(row), side) for row in rows[some]])
        return torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 127.5 - 1.0

    def picture(self, row: int, side: int) -> RGB:
        """The picture of a row of `encoded`, aligned, uint8 (side, side, 3)."""
        name = self.encoded.files[row]
        path = self.pictures / name
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file, though it was encoded")
        try:
            return read(self.pictures, Picture(name, path.stat().st_size), side, self.landmarks)
        except Unreadable as why:
            raise CheckpointError(f"{path}: {why}, though it was encoded") from why

    @cached_property
    def judge(self) -> PerceptualDistance | LearnedDistance:
        """VGG16 on pictures of `perceptual_side`, with LPIPS's weights where they are given."""
        networks, side = self.networks, self.settings.perceptual_side
        if networks.lpips is None:
            return load_perceptual(networks.perceptual, side=side)
        return load_lpips(networks.perceptual, networks.lpips, side=side)

    @cached_property
    def generator(self) -> Generator:
        """G, with its stored noise."""
        return load_generator(self.networks.generator)

    @cached_property
    def identity_path(self) -> IdentityPath:
        """G and F."""
        return IdentityPath(self.generator, load_identity(self.networks.identity))

    @cached_property
    def encoder(self) -> Encoder:
        """E, that made the codes."""
        return load_encoder(self.networks.encoder)

    @cached_property
    def referee(self) -> Referee:
        """A network trained, on first use, on labelled pictures of the split `probe`."""
        make(self, "referee.pt", partial(_referee, self))
        return load_referee(self.path("referee.pt"))

    @cached_property
    def identity_referee(self) -> UnitVectors | None:
        """That of the file given.

        Raises
        ------
        InvalidInput: it is F, which T was trained to please.
        """
        file = self.identity_referee_file
        if file is None:
            return None
        if file_sha256(file) == file_sha256(self.networks.identity):
            raise InvalidInput("identity_referee", file.name, "another network than F")
        return UnitVectors(load_identity(file))

    @property
    def flow_options(self) -> Mapping[Space, FlowOptions]:
        """Those of the settings."""
        return {Space.W_STAR: self.settings.flow, Space.W_STAR_ID: self.settings.flow_id}

    @property
    def sketch(self) -> int:
        """That of the settings."""
        return self.settings.sketch

    @property
    def chosen_scale(self) -> float | None:
        """That of the settings."""
        scale = self.settings.perceptual_scale
        return None if scale == "match" else scale

    @property
    def penalty(self) -> float:
        """That of the settings."""
        return self.settings.penalty

    @property
    def held_out(self) -> int:
        """A twentieth of the codes, at least 3."""
        return max(_LEAST_HELD_OUT, len(self.rows["flow"]) // 20)

    @property
    def labels(self) -> Mapping[str, str]:
        """Names of the files, without their folders."""
        names = {key: file.name for key, file in self.networks.given.items()}
        return {**names, "pictures": str(len(self.encoded.files))}


def _referee(study: OwnFiles) -> None:
    path, attributes = study.path("referee.pt"), study.attributes("probe")
    train_referee(path, study.referee_options, study.faces("probe"), attributes)
