"""A run to a repository folder, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from wstar.errors import InvalidInput
from wstar.graphs import CONTRACT_VERSION, GraphSpec, Space, flow, graphs
from wstar.space import MANIFEST_PARAMETER, SPACE_ID_STAMP, SpaceManifest
from wstar_export.assembly import Graph, assemble, space_ids, weights_sha256
from wstar_export.config import CPU_CONFIG, GPU_CONFIG, cpu_config, gpu_config
from wstar_export.manifests import manifests
from wstar_export.onnx import export
from wstar_export.run import Run
from wstar_export.verify import Finding, Session, measure, refuse

MANIFEST_FILE = "space.json"

_EXAMPLE_BATCH = 2


def model_path(repository: Path, spec: GraphSpec) -> Path:
    """Where a repository keeps a graph; 1 is Triton's version number."""
    return repository / spec.name / "1" / "model.onnx"


def metadata(graph: Graph, ids: Mapping[Space, str]) -> dict[str, str]:
    """What every graph file says of itself."""
    stamp = {
        "wstar_contract_version": str(CONTRACT_VERSION),
        "wstar_weights_sha256": weights_sha256(graph.module),
    }
    return stamp if graph.space is None else {**stamp, SPACE_ID_STAMP: ids[graph.space]}


def texts(specs: Iterable[GraphSpec], spaces: Mapping[Space, SpaceManifest]) -> dict[str, str]:
    """All text files of a repository, by path inside it."""
    owners = {
        flow(space, manifest.resolution).name: manifest.to_json()
        for space, manifest in spaces.items()
    }
    written: dict[str, str] = {}
    for spec in specs:
        parameters = {MANIFEST_PARAMETER: owners[spec.name]} if spec.name in owners else {}
        written[f"{spec.name}/{GPU_CONFIG}"] = gpu_config(spec, parameters)
        written[f"{spec.name}/{CPU_CONFIG}"] = cpu_config(spec, parameters)
        if spec.name in owners:
            written[f"{spec.name}/{MANIFEST_FILE}"] = owners[spec.name] + "\n"
    return written


def write_repository(run: Run, output: Path, report: Callable[[str], None]) -> list[Finding]:
    """Export, verify and write every graph of a run; `output` is replaced as a whole.

    Until the last graph has passed, all files are in a folder beside `output`: an export that
    fails or is interrupted leaves the repository that was there.

    Parameters
    ----------
    output: a repository, an empty folder, or nothing yet.
    report: gets a line per graph.

    Returns all parity figures.

    Raises
    ------
    ContractMismatch: a graph is not that of the contract, or a figure is out of bounds.
    InvalidInput: `output` holds something else that would be lost.
    """
    output = output.resolve()
    _check_replaceable(output, graphs(run.resolution, run.encoder_side))
    made, ids = assemble(run), space_ids(run)
    with _replacing(output) as folder:
        for graph in made:
            path = model_path(folder, graph.spec)
            path.parent.mkdir(parents=True)
            example = tuple(tensor[:_EXAMPLE_BATCH] for tensor in graph.inputs)
            export(graph.module, graph.spec, example, path, metadata(graph, ids))
            report(f"{graph.spec.name}: {path.stat().st_size / 1e6:.2f} MB")
        sessions = {g.spec.name: Session(model_path(folder, g.spec), g.spec) for g in made}
        findings = measure(run, made, sessions)
        refuse(findings)
        written = texts([g.spec for g in made], manifests(run, sessions, findings))
        for name, text in written.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return findings


def _check_replaceable(output: Path, specs: Iterable[GraphSpec]) -> None:
    if output.exists():
        strangers = {path.name for path in output.iterdir()} - {spec.name for spec in specs}
        if strangers:
            raise InvalidInput(
                "output", f"{output} with {min(strangers)}", "a repository, or an empty folder"
            )


@contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    """Give a new folder; when all went well it takes the place and name of `output`."""
    made = output.with_name(f".{output.name}.{os.getpid()}.partial")
    replaced = output.with_name(f".{output.name}.{os.getpid()}.replaced")
    made.mkdir(parents=True)
    try:
        yield made
        if output.exists():
            output.rename(replaced)
        try:
            made.rename(output)
        except BaseException:
            replaced.rename(output)
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
