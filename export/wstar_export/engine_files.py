"""Where plans lie in a repository, and whether those that are there belong on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wstar.checksums import check_checksums
from wstar.errors import ContractMismatch
from wstar.graphs import GraphSpec, Space, flow, graphs
from wstar.space import SpaceManifest
from wstar_export.profiles import profile
from wstar_export.repository import MANIFEST_FILE, model_path
from wstar_export.sidecar import PLAN_FILE, SIDECAR_FILE, Machine, check_sidecar, read_sidecar
from wstar_export.trtexec import trtexec_line


def contract(repository: Path) -> tuple[SpaceManifest, tuple[GraphSpec, ...]]:
    """The manifest of W_STAR, which tells the resolution, and the graphs that follow from it.

    Raises
    ------
    ContractMismatch: the repository has no readable manifest.
    """
    # The name of a flow does not depend on the resolution.
    name = f"{flow(Space.W_STAR, 8).name}/{MANIFEST_FILE}"
    try:
        text = (repository / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractMismatch("flow", MANIFEST_FILE, "a readable file", error) from error
    manifest = SpaceManifest.from_json(text, name)
    return manifest, graphs(manifest.resolution, manifest.encoder_side)


def plan_files(repository: Path, spec: GraphSpec) -> tuple[Path, Path]:
    """The plan of a graph, which Triton's TensorRT backend reads, and its sidecar."""
    folder = model_path(repository, spec).parent
    return folder / PLAN_FILE, folder / SIDECAR_FILE


def check_plan(machine: Machine, repository: Path, spec: GraphSpec) -> None:
    """Refuse a plan that was not built for this machine, from this graph.

    Raises
    ------
    ContractMismatch: there is none, or the first difference.
    """
    plan_path, sidecar_path = plan_files(repository, spec)
    if not plan_path.is_file():
        raise ContractMismatch(spec.name, PLAN_FILE, "a plan", "none")
    sidecar = read_sidecar(sidecar_path, spec.name)
    check_sidecar(sidecar, machine, model_path(repository, spec), profile(spec))


def check_engines(machine: Machine, repository: Path) -> Iterator[ContractMismatch]:
    """Why plans of a repository cannot serve on this machine, graph by graph; nothing if all can.

    Raises
    ------
    ContractMismatch: the repository itself is broken.
    """
    check_checksums(repository)
    for spec in contract(repository)[1]:
        try:
            check_plan(machine, repository, spec)
        except ContractMismatch as error:
            yield error


def trtexec_lines(repository: Path, workspace_mib: int) -> list[str]:
    """One shell command per graph; they need neither Python nor this package.

    Raises
    ------
    ContractMismatch: the repository has no readable manifest.
    """
    return [
        trtexec_line(
            model_path(repository, spec),
            plan_files(repository, spec)[0],
            profile(spec),
            workspace_mib,
            None,
        )
        for spec in contract(repository)[1]
    ]
