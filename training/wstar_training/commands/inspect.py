"""`wstar-train inspect`: say what a checkpoint is, without building its network."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from wstar_training.models.weights import inspect

_SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `wstar-train inspect`."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="StyleGAN2, pSp, e4e, VGG16, VGGFace or ArcFace"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Carry out the command."""
    found = inspect(options.file)
    size_bytes = options.file.stat().st_size
    if options.json:
        facts = {"file": options.file.name, "size_bytes": size_bytes, **asdict(found)}
        print(json.dumps(facts, indent=1))
        return 0
    counts = [f"{part} {count / 1e6:.2f} M" for part, count in found.parameters.items()]
    hidden = len(found.missing) - _SHOWN
    more = f"; and {hidden} more (--json lists them)" if hidden > 0 else ""
    lines = {
        "file": f"{options.file.name}, {size_bytes / 1e6:.1f} MB",
        "family": found.family,
        "read by": ", ".join(found.loads_as),
        "resolution": None if found.resolution is None else f"{found.resolution} px",
        "rows of w": found.n_latent,
        "channel multiplier": found.channel_multiplier,
        "parameters": ", ".join(counts),
        "types": ", ".join(found.dtypes),
        **{key.replace("_", " "): value for key, value in found.details.items()},
        "missing": "; ".join(found.missing[:_SHOWN]) + more if found.missing else "nothing",
    }
    for name, value in lines.items():
        if value is not None:
            print(f"{name + ':':24}{value}")
    return 0
