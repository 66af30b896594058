"""Engines of a repository that is about to be replaced: kept where their graphs stay the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from wstar.errors import ContractMismatch
from wstar.graphs import GraphSpec
from wstar_export.sidecar import PLAN_FILE, SIDECAR_FILE, onnx_sha256, read_sidecar


def carry_engines(old: Path, made: Path, specs: Iterable[GraphSpec]) -> tuple[list[str], list[str]]:
    """Copy plans and their sidecars into a new repository of the same `model.onnx`.

    Building takes minutes per graph and needs the GPU that serves it.

    Returns the names of graphs whose plan was copied, and of those whose plan is stale.
    """
    carried, stale = [], []
    for spec in specs:
        before, after = (repository / spec.name / "1" for repository in (old, made))
        if not (before / PLAN_FILE).exists():
            continue
        if is_stale(before, after / "model.onnx", spec):
            stale.append(spec.name)
            continue
        for name in (PLAN_FILE, SIDECAR_FILE):
            shutil.copy2(before / name, after / name)
        carried.append(spec.name)
    return carried, stale


def is_stale(folder: Path, model: Path, spec: GraphSpec) -> bool:
    """Whether the plan in a version folder was built from anything but `model`."""
    try:
        sidecar = read_sidecar(folder / SIDECAR_FILE, spec.name)
    except ContractMismatch:
        return True
    return sidecar.graph != spec.name or sidecar.onnx_sha256 != onnx_sha256(model)
