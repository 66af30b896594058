"""Capacity on paper: replicas, GPUs, network and memory for so many requests per second.

`python -m deploy.capacity --requests-per-s 1000` prints a plan; `deploy/figures.py` says of every
figure behind it whether it was measured or is assumed. Needs Python's own library only.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from deploy.figures import FIGURES, value_of
from deploy.sizing import load_of, plan

LOADS_FACES_PER_S = (10, 1_000, 100_000)
SIDES_PX = (256, 1024)
_MEASURED, _ASSUMED = "measured figures", "**assumed** figures"
# What each result rests on; a count of replicas adds the assumed share that is planned for.
RESTS_ON: Mapping[str, str] = {
    "service_cores": _MEASURED,
    "service_replicas": f"{_MEASURED}, **assumed** load",
    "service_memory_gib": f"{_MEASURED}, **assumed** load",
    "gpus": _ASSUMED,
    "gpu_memory_gb_each": f"{_MEASURED} (engines), {_ASSUMED} (the rest)",
    "triton_memory_gib": _ASSUMED,
    "requested_cores": "the manifests' requests, the counts above",
    "requested_memory_gib": "the manifests' requests, the counts above",
    "pictures_in_gbit": "**assumed** size of a picture",
    "codes_out_gbit": "the contract",
    "to_triton_gbit": "the contract",
    "from_triton_gbit": "the contract",
    "nodes_by_network": _ASSUMED,
    "cpu_only_cores": _MEASURED,
    "cpu_only_replicas": f"{_MEASURED}, **assumed** load",
    "cpu_only_memory_gib": f"{_MEASURED}, **assumed** load",
}


def tables() -> str:
    """Write the tables of `deploy/capacity.md`."""
    parts = [_plan_table(side) for side in SIDES_PX]
    rows = [
        f"| {name} | {figure.value:,g} | {figure.unit} | **{figure.basis}** | {figure.source} |"
        for name, figure in FIGURES.items()
    ]
    head = ["| figure | value | unit | basis | from |", "|---|---|---|---|---|"]
    return "\n\n".join([*parts, "\n".join([*head, *rows])])


def main(argv: Sequence[str] | None = None) -> int:
    """Print a plan, or the tables; exit code 0."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.tables:
        print(tables())
        return 0
    if given.requests_per_s is None:
        parser.error("--requests-per-s is needed")
    load = load_of(
        given.requests_per_s,
        given.picture_px,
        given.faces_per_request,
        given.picture_bytes,
        given.gpu_faces_per_s,
        given.network_gbit,
    )
    found = asdict(plan(load))
    if given.json:
        figures = {name: figure._asdict() for name, figure in FIGURES.items()}
        print(json.dumps({"load": asdict(load), "plan": found, "figures": figures}, indent=2))
    else:
        print("\n".join(f"{name:22}{_text(value):>12}" for name, value in found.items()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.capacity", description=__doc__)
    what = {
        "--requests-per-s": (None, "requests per second"),
        "--faces-per-request": (1, "pictures in one request"),
        "--picture-px": (256, "side of a picture"),
        "--picture-bytes": (None, "encoded size of one (default: side² x bytes_per_pixel)"),
        "--gpu-faces-per-s": (value_of("gpu_faces"), "what one GPU embeds; measure yours"),
        "--network-gbit": (10.0, "network card of one node"),
    }
    for flag, (default, text) in what.items():
        kind = _count_of if isinstance(default, int) else _above_0
        told = "" if default is None else f" (default: {default:g})"
        parser.add_argument(flag, type=kind, default=default, metavar="NUMBER", help=text + told)
    parser.add_argument("--json", action="store_true", help="print JSON, the figures with it")
    parser.add_argument("--tables", action="store_true", help="print the tables of capacity.md")
    return parser


def _plan_table(side_px: int) -> str:
    loads = [load_of(faces, side_px) for faces in LOADS_FACES_PER_S]
    plans = [asdict(plan(load)) for load in loads]
    heads = " | ".join(f"{faces:,} faces/s" for faces in LOADS_FACES_PER_S)
    what = f"pictures of {side_px} px, {loads[0].picture_bytes / 1000:.0f} KB"
    lines = [
        f"| {what} | {heads} | rests on |",
        "|---|" + "---|" * len(plans) + "---|",
    ]
    for name in plans[0]:
        cells = " | ".join(_text(found[name]) for found in plans)
        lines.append(f"| {name.replace('_', ' ')} | {cells} | {RESTS_ON[name]} |")
    return "\n".join(lines)


def _text(value: float) -> str:
    if isinstance(value, int) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _above_0(text: str) -> float:
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a number above 0")
    return value


def _count_of(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a whole number from 1 on")
    return value


if __name__ == "__main__":
    sys.exit(main())
