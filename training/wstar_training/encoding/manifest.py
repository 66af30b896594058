"""The output folder when it is complete: which row is which picture, and the reader."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wstar.errors import CheckpointError
from wstar.graphs import W_DIM
from wstar_training.encoding.durable import write_durably
from wstar_training.encoding.journal import FORMAT, Plan

CODES = "codes.npy"
JOURNAL = "journal.jsonl"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class EncodedPictures:
    """W+ codes of a picture set.

    w: float32 (N, n, 512), absolute W+, mapped from the file; changes stay in memory.
    files: N names relative to the folder of pictures; row r is the code of files[r].
    skipped: pictures without a code: file name to reason.
    encoder_file, encoder_sha256: name and content hash of the encoder's file.
    side: S, px. preprocessing: from file to the encoder's input, in words.
    landmarks_sha256: content hash of the landmarks that pictures were aligned by, if any.
    """

    w: NDArray[np.float32]
    files: list[str]
    skipped: dict[str, str]
    encoder_file: str
    encoder_sha256: str
    side: int
    preprocessing: str
    landmarks_sha256: str | None


def write_manifest(folder: Path, plan: Plan, skipped: dict[str, str]) -> None:
    """Write the manifest of a plan that is carried out; row r is the code of files[r]."""
    files = [picture.name for picture in plan.pictures if picture.name not in skipped]
    content = {
        "format": FORMAT,
        "encoder_file": plan.encoder_file,
        "encoder_sha256": plan.encoder_sha256,
        "side": plan.side,
        "preprocessing": plan.preprocessing,
        "landmarks_sha256": plan.landmarks_sha256,
        "batch": plan.batch,
        "device": plan.device,
        "shape": [len(files), plan.n_latent, W_DIM],
        "files": files,
        "skipped": skipped,
    }
    write_durably(folder / MANIFEST, json.dumps(content, indent=1).encode() + b"\n")


def read_codes(folder: Path) -> EncodedPictures:
    """Read a folder that `wstar-train codes` has completed.

    Raises
    ------
    CheckpointError: the folder is half-done or no such folder, or its two files do not agree.
    """
    path = folder / MANIFEST
    if not path.exists():
        if (folder / JOURNAL).exists():
            raise CheckpointError(f"{folder}: half-done; run the same command to finish")
        raise CheckpointError(f"{folder}: no {MANIFEST}: not written by `wstar-train codes`")
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, found {content['format']}")
        shape = tuple(content["shape"])
        read = EncodedPictures(
            # Copy-on-write: torch takes it without a warning, and nobody can change the file.
            w=np.load(folder / CODES, mmap_mode="c", allow_pickle=False),
            files=content["files"],
            skipped=content["skipped"],
            encoder_file=content["encoder_file"],
            encoder_sha256=content["encoder_sha256"],
            side=content["side"],
            preprocessing=content["preprocessing"],
            landmarks_sha256=content["landmarks_sha256"],
        )
        if not isinstance(read.files, list) or not isinstance(read.w, np.ndarray):
            raise ValueError("expected a list of files and one array")
    except (KeyError, TypeError, OSError, EOFError, ValueError) as error:
        raise CheckpointError(f"{folder}: {MANIFEST} or {CODES} cannot be read: {error}") from error
    if read.w.shape != shape or read.w.dtype != np.float32 or len(read.files) != len(read.w):
        raise CheckpointError(
            f"{folder}: {CODES}: expected float32 {shape} for {len(read.files)} files, "
            f"found {read.w.dtype} {read.w.shape}"
        )
    return read
