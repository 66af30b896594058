"""`wstar-train codes`: encode a folder of pictures to W+ codes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wstar.errors import CheckpointError, InvalidInput
from wstar_training.checkpoint import file_sha256
from wstar_training.commands.arguments import positive
from wstar_training.encoding.encode import Encoder, encode
from wstar_training.encoding.journal import Plan
from wstar_training.encoding.landmarks import read_landmarks
from wstar_training.encoding.manifest import MANIFEST
from wstar_training.encoding.pictures import find, read
from wstar_training.encoding.progress import shown
from wstar_training.encoding.store import opened
from wstar_training.models.weights.encoders import load_encoder

_MOST_SHOWN = 10
_CENTRE = "upright RGB on mid grey; central square, bilinear to {} px; x / 127.5 - 1"
_ALIGNED = "upright RGB on mid grey; FFHQ crop by landmarks to {} px; x / 127.5 - 1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `wstar-train codes`."""
    parser.add_argument(
        "--encoder", type=Path, required=True, metavar="FILE", help="pSp or e4e checkpoint"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of JPEG, PNG and WebP pictures, with all folders in it; "
        "FFHQ-aligned crops unless --landmarks is given",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for codes.npy and manifest.json; if it is half-done, the command goes on",
    )
    parser.add_argument(
        "--landmarks",
        type=Path,
        metavar="FILE.json",
        help='{"folder/name.jpg": [[x, y], ...]}: 5 or 68 points in px of the upright picture; '
        "aligns every picture (default: pictures are aligned already)",
    )
    parser.add_argument(
        "--batch",
        type=positive,
        default=8,
        metavar="N",
        help="pictures per call of the encoder (default: 8)",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads torch may use (default: one per core)",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="of the encoder (default: cpu)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object at the end instead of text"
    )


def run(options: argparse.Namespace, load: Callable[[Path], Encoder] = load_encoder) -> int:
    """Carry out the command.

    load: gives the encoder of a file, with `side` (px) and `n_latent`.
    """
    # What a GPU picks by its own timing, or rounds to 10 bits, is not the same bytes next time.
    with torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False):
        summary = _run(options, load)
    _report(summary, options.json)
    return 0


def _run(options: argparse.Namespace, load: Callable[[Path], Encoder]) -> dict[str, Any]:
    started = time.monotonic()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("device", "cuda", "cpu: torch sees no CUDA device")
    if options.output.exists() and not options.output.is_dir():
        raise InvalidInput("output", str(options.output), "a folder, or a new name")
    pictures = find(options.pictures)
    if not pictures:
        raise CheckpointError(f"{options.pictures}: no JPEG, PNG or WebP pictures in it")
    landmarks = None if options.landmarks is None else read_landmarks(options.landmarks)
    sha256 = file_sha256(options.encoder)
    encoder = load(options.encoder).to(options.device)
    side = encoder.side
    plan = Plan(
        encoder_file=options.encoder.name,
        encoder_sha256=sha256,
        side=side,
        n_latent=encoder.n_latent,
        preprocessing=(_CENTRE if landmarks is None else _ALIGNED).format(side),
        landmarks_sha256=None if landmarks is None else landmarks.sha256,
        batch=options.batch,
        device=options.device,
        pictures=pictures,
    )
    with opened(options.output, plan) as store:
        before = store.rows
        done = min(store.batches * options.batch, len(pictures))
        with shown(sys.stderr, len(pictures), done) as progress:
            try:
                encode(
                    encoder,
                    partial(read, options.pictures, side=side, landmarks=landmarks),
                    store,
                    progress,
                )
            except torch.OutOfMemoryError as error:
                allowed = f"fewer pictures, and another --output: {error}"
                raise InvalidInput("batch", options.batch, allowed) from error
        return {
            "encoded": store.rows,
            "encoded_before": before,
            "skipped": store.skipped,
            "output": str(options.output),
            "seconds": round(time.monotonic() - started, 3),
        }


def _report(summary: dict[str, Any], as_json: bool) -> None:
    """Say what was done; JSON counts what was skipped and leaves the names to the manifest."""
    skipped: dict[str, str] = summary["skipped"]
    if as_json:
        print(json.dumps(summary | {"skipped": len(skipped)}))
        return
    before = f" ({summary['encoded_before']} of them before)" if summary["encoded_before"] else ""
    print(
        f"{summary['encoded']} codes{before} in {summary['output']}, "
        f"skipped pictures: {len(skipped)}, {summary['seconds']:.1f} s"
    )
    for name, why in list(skipped.items())[:_MOST_SHOWN]:
        # Names that are no valid text cannot be printed as they are.
        print(f"  skipped {name.encode(errors='replace').decode()}: {why}")
    if len(skipped) > _MOST_SHOWN:
        print(f"  and {len(skipped) - _MOST_SHOWN} more: see {MANIFEST}")
