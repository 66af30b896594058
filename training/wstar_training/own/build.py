"""A study of own files made, whole or one variant of it; a run goes on with its own files only."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wstar.errors import CheckpointError, InvalidInput
from wstar.files import write_file
from wstar_training.ablation.variants import VARIANTS_NEED, Variant, train_variant
from wstar_training.checkpoint import NETWORKS_FILE, file_sha256
from wstar_training.encoding.store import locked
from wstar_training.learning.codes import save_codes
from wstar_training.own.files import OwnFiles
from wstar_training.own.options import OPTIONS_FILE, remember, write_json
from wstar_training.study.stages import flow_stages, make

# Faces that export measures its graphs on.
_KEPT_PICTURES = 64
# A T, and what is served of it.
_TRAINED = {
    "flow": ("flow.pt", "space_W_STAR.pt"),
    "flow_id": ("flow_id.pt", "space_W_STAR_ID.pt"),
}


def build(study: OwnFiles) -> None:
    """Make whatever of a study is not there yet, up to the served read-outs.

    Raises
    ------
    CheckpointError: a file cannot be used, or the codes are not those of the encoder.
    InvalidInput: too few pictures, or the folder holds a study with other files or settings.
    """
    with _begun(study):
        for file, stage in flow_stages(study):
            make(study, file, stage)


def build_variant(study: OwnFiles, variant: Variant) -> Path:
    """Make a variant of a study and what it needs; its folder. Raises as `build`."""
    seed = study.settings.flow.seed
    # Where an ablation looks for it.
    folder = study.path("ablation") / f"{variant.name}-seed{seed}"
    with _begun(study):
        for file, stage in flow_stages(study):
            if file in VARIANTS_NEED:
                make(study, file, stage)
        with ExitStack() as stack:
            if study.group.first:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(folder))
            train_variant(study, variant, seed, folder)
    return folder


@contextmanager
def _begun(study: OwnFiles) -> Iterator[None]:
    """Check a study and hold its folder; its codes are there. In a group the first process does."""
    group = study.group
    with ExitStack() as stack:
        if group.first:
            _check_settings(study)
            hashes = _hashes(study)
            # A run that was begun has passed, and what is complete needs no networks.
            if not study.path(OPTIONS_FILE).exists():
                _check_networks(study)
            study.run.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(study.run))
            _remember(study, hashes)
        group.wait()
        make(study, "codes.pt", partial(_codes, study))
        yield


def _check_settings(study: OwnFiles) -> None:
    """Refuse settings that the pictures are too few for."""
    count, settings = len(study.rows["flow"]), study.settings
    trained = count - study.held_out
    for options in (settings.flow, settings.flow_id):
        if options.batch > trained:
            raise InvalidInput("batch", options.batch, f"at most {trained}, the codes to train on")
        if options.batch % study.group.size:
            allowed = f"a multiple of the {study.group.size} processes"
            raise InvalidInput("batch", options.batch, allowed)
    if isinstance(settings.layout, int) and settings.layout >= count:
        raise InvalidInput("axes", settings.layout, f"less than {count}, the pictures to train on")
    scale = settings.perceptual_scale
    if scale != "match" and not 0 < scale < math.inf:
        raise InvalidInput("perceptual_scale", scale, "above 0, or match")
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
    # A judge with learned weights is another than one without.
    hashes: dict[str, str | None] = {"lpips": None}
    hashes |= {key: file_sha256(file) for key, file in study.networks.given.items()}
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
    places = {
        **asdict(study.networks),
        **asdict(study.sources),
        "identity_referee": study.identity_referee_file,
    }
    files = {name: path and str(Path(path).resolve()) for name, path in places.items()}
    networks = {
        key: {"file": files[key], "sha256": hashes[key]} for key in ("encoder", "generator")
    }
    # Before the options: a run that has those is complete but for its stages.
    if not study.path(OPTIONS_FILE).exists():
        write_json(study.path(NETWORKS_FILE), networks)
    # A T that is not complete yet may be trained with other settings than it was begun with.
    still = [
        f"settings.{name}"
        for name, made in _TRAINED.items()
        if not any(study.path(file).exists() for file in made)
    ]
    remember(study.run, options, files, still)


def _codes(study: OwnFiles) -> None:
    """Codes by split; and test faces as the encoder sees them, which export measures with."""
    w: dict[str, Tensor] = {
        split: torch.from_numpy(study.encoded.w[rows]) for split, rows in study.rows.items()
    }
    kept = study.rows["test"][:_KEPT_PICTURES]
    faces = np.stack([study.picture(int(row), study.encoded.side) for row in kept])
    study.path("pictures").mkdir(exist_ok=True)
    write_file(study.path("pictures") / "test.bytes", faces.tobytes())
    save_codes(study.path("codes.pt"), w, "flow", study.settings.layout)
