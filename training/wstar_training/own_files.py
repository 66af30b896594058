"""The study of a researcher's own files: StyleGAN2, encoder, VGG16, F, pictures and labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wstar.errors import CheckpointError, InvalidInput
from wstar.files import write_file
from wstar.graphs import Space
from wstar.images import RGB
from wstar_training.checkpoint import NETWORKS_FILE, file_sha256
from wstar_training.codes import Batch, Codes, load_codes, save_codes
from wstar_training.config import FlowOptions
from wstar_training.data.labels import Labels
from wstar_training.data.partition import SPLITS
from wstar_training.encoding.landmarks import Landmarks
from wstar_training.encoding.manifest import EncodedPictures
from wstar_training.encoding.pictures import Picture, Unreadable, read
from wstar_training.encoding.store import locked
from wstar_training.loop import IdentityPath
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.stylegan2 import Generator
from wstar_training.models.weights import load_generator, load_identity, load_perceptual
from wstar_training.pretrain import Bools
from wstar_training.study import CodeSplit, Study, flow_stages, make

_OPTIONS_FILE = "options.json"
# Two codes to train on, a pair; and three that validate, whose distances can be correlated.
_LEAST: dict[CodeSplit, int] = {"flow": 5, "probe": 2, "test": 2}
_LEAST_HELD_OUT = 3
# Faces that export measures its graphs on.
_KEPT_PICTURES = 64


@dataclass(frozen=True)
class Networks:
    """Files of the networks that a study is made with."""

    encoder: Path
    generator: Path
    perceptual: Path
    identity: Path


@dataclass(frozen=True)
class Settings:
    """What is chosen of a study of own files.

    perceptual_side: side in px that pictures are reduced to for the perceptual judge.
    axes: principal axes of the codes that T acts on; None: the 512 numbers of each row.
    """

    flow: FlowOptions
    flow_id: FlowOptions
    perceptual_side: int = 256
    axes: int | None = None
    sketch: int = 4096
    penalty: float = 1e-2


@dataclass(frozen=True)
class OwnFiles(Study):
    """A run folder, the files it is made from, and its settings.

    pictures: the folder that `encoded` came from. landmarks: those that it was aligned by.
    labelled: attributes and split of `encoded.files`.
    """

    run: Path
    networks: Networks
    settings: Settings
    encoded: EncodedPictures
    pictures: Path
    landmarks: Landmarks | None
    labelled: Labels

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
    def judge(self) -> PerceptualDistance:
        """VGG16 on pictures of `perceptual_side`."""
        return load_perceptual(self.networks.perceptual, side=self.settings.perceptual_side)

    @cached_property
    def generator(self) -> Generator:
        """G, with its stored noise."""
        return load_generator(self.networks.generator)

    @cached_property
    def identity_path(self) -> IdentityPath:
        """G and F."""
        return IdentityPath(self.generator, load_identity(self.networks.identity))

    @property
    def flow_options(self) -> Mapping[Space, FlowOptions]:
        """Those of the settings."""
        return {Space.W_STAR: self.settings.flow, Space.W_STAR_ID: self.settings.flow_id}

    @property
    def sketch(self) -> int:
        """That of the settings."""
        return self.settings.sketch

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
        names = {key: Path(value).name for key, value in asdict(self.networks).items()}
        return {**names, "pictures": str(len(self.encoded.files))}


def build(study: OwnFiles) -> None:
    """Make whatever of a study is not there yet, up to the served read-outs.

    Raises
    ------
    CheckpointError: a file cannot be used, or the codes are not those of the encoder.
    InvalidInput: too few pictures, or the folder holds a study with other files or settings.
    """
    _check_settings(study)
    hashes = _hashes(study)
    # A run that was begun has passed, and what is complete needs no networks.
    if not study.path(_OPTIONS_FILE).exists():
        _check_networks(study)
    study.run.mkdir(parents=True, exist_ok=True)
    with locked(study.run):
        _remember(study, hashes)
        make(study, "codes.pt", partial(_codes, study))
        for file, stage in flow_stages(study):
            make(study, file, stage)


def _check_settings(study: OwnFiles) -> None:
    """Refuse settings that the pictures are too few for."""
    count, settings = len(study.rows["flow"]), study.settings
    trained = count - study.held_out
    for options in (settings.flow, settings.flow_id):
        if options.batch > trained:
            raise InvalidInput("batch", options.batch, f"at most {trained}, the codes to train on")
    if settings.axes is not None and settings.axes >= count:
        raise InvalidInput("axes", settings.axes, f"less than {count}, the pictures to train on")
    if settings.flow_id.identity_batch > settings.flow_id.batch:
        allowed = f"at most the batch, {settings.flow_id.batch}"
        raise InvalidInput("identity_batch", settings.flow_id.identity_batch, allowed)


def _check_networks(study: OwnFiles) -> None:
    """Refuse files before anything is made, rather than hours later."""
    rows = study.encoded.w.shape[1]
    if study.generator.n_latent != rows:
        raise CheckpointError(
            f"{study.networks.generator}: expected a generator of {rows} rows of w, as the codes "
            f"have, found {study.generator.n_latent}"
        )
    _ = study.judge, study.identity_path  # Both are kept for the stages.


def _hashes(study: OwnFiles) -> dict[str, str | None]:
    """SHA-256 of what the run is made from, the join of pictures and labels included."""
    hashes = {key: file_sha256(Path(value)) for key, value in asdict(study.networks).items()}
    if hashes["encoder"] != study.encoded.encoder_sha256:
        raise CheckpointError(
            f"{study.networks.encoder}: not the encoder of these codes: expected sha256 "
            f"{study.encoded.encoder_sha256}, found {hashes['encoder']}"
        )
    labels = hashlib.sha256()
    for array in (study.labelled.rows, study.labelled.splits, study.labelled.attributes):
        labels.update(array.tobytes())
    landmarks = study.encoded.landmarks_sha256
    return {**hashes, "labels": labels.hexdigest(), "landmarks": landmarks}


def _remember(study: OwnFiles, hashes: Mapping[str, str | None]) -> None:
    """Write what the run is made from; a run goes on with the same only."""
    options = {
        "sha256": hashes,
        "settings": asdict(study.settings),
        "pictures": study.encoded.files,
    }
    path = study.path(_OPTIONS_FILE)
    if path.exists():
        try:
            begun = json.loads(path.read_text())
        except ValueError as error:
            raise CheckpointError(f"{path}: not the options of a run: {error}") from error
        _refuse_change("", begun, options, study.run)
        return
    networks = {
        key: {"file": str(Path(getattr(study.networks, key)).resolve()), "sha256": hashes[key]}
        for key in ("encoder", "generator")
    }
    _write_json(study.path(NETWORKS_FILE), networks)
    _write_json(path, options)


def _refuse_change(field: str, begun: object, asked: object, run: Path) -> None:
    """Raise InvalidInput, naming what differs, unless `asked` is what the run was begun with."""
    if isinstance(asked, dict) and isinstance(begun, dict):
        for key, value in asked.items():
            _refuse_change(f"{field}.{key}".lstrip("."), begun.get(key), value, run)
    elif begun != asked:
        old = "others" if isinstance(begun, list) else repr(begun)
        allowed = f"{old}, with which {run} was begun; anything else needs another --run"
        raise InvalidInput(field or _OPTIONS_FILE, asked, allowed)


def _write_json(path: Path, content: object) -> None:
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())


def _codes(study: OwnFiles) -> None:
    """Codes by split; and test faces as the encoder sees them, which export measures with."""
    w: dict[str, Tensor] = {
        split: torch.from_numpy(study.encoded.w[rows]) for split, rows in study.rows.items()
    }
    kept = study.rows["test"][:_KEPT_PICTURES]
    faces = np.stack([study.picture(int(row), study.encoded.side) for row in kept])
    study.path("pictures").mkdir(exist_ok=True)
    write_file(study.path("pictures") / "test.bytes", faces.tobytes())
    save_codes(study.path("codes.pt"), w, "flow", study.settings.axes)
