"""A run to a repository folder, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from wstar.checksums import CHECKSUMS_FILE, write_checksums
from wstar.errors import InvalidInput
from wstar.graphs import CONTRACT_VERSION, GraphSpec, Space, flow, graphs
from wstar.space import MANIFEST_PARAMETER, SPACE_ID_STAMP, SpaceManifest
from wstar_export.assembly import Graph, assemble, space_ids, weights_sha256
from wstar_export.carried import carry_engines
from wstar_export.config import CPU_CONFIG, GPU_CONFIG, GpuBackend, cpu_config, gpu_config
from wstar_export.external_data import model_bytes
from wstar_export.findings import Finding, refuse
from wstar_export.manifests import manifests
from wstar_export.onnx import export
from wstar_export.precisions import apply
from wstar_export.replace import replacing
from wstar_export.run import Run
from wstar_export.session import Session
from wstar_export.tolerances import Precision
from wstar_export.verify import measure

MANIFEST_FILE = "space.json"
CONTRACT_STAMP = "wstar_contract_version"
WEIGHTS_STAMP = "wstar_weights_sha256"

_EXAMPLE_BATCH = 2


def model_path(repository: Path, spec: GraphSpec) -> Path:
    """Where a repository keeps a graph; 1 is Triton's version number."""
    return repository / spec.name / "1" / "model.onnx"


def metadata(graph: Graph, ids: Mapping[Space, str]) -> dict[str, str]:
    """What every graph file says of itself."""
    stamp = {
        CONTRACT_STAMP: str(CONTRACT_VERSION),
        WEIGHTS_STAMP: weights_sha256(graph.module),
    }
    return stamp if graph.space is None else {**stamp, SPACE_ID_STAMP: ids[graph.space]}


def texts(
    specs: Iterable[GraphSpec], spaces: Mapping[Space, SpaceManifest], backend: GpuBackend
) -> dict[str, str]:
    """All configurations and manifests of a repository, by path inside it."""
    owners = {
        flow(space, manifest.resolution).name: manifest.to_json()
        for space, manifest in spaces.items()
    }
    written: dict[str, str] = {}
    for spec in specs:
        parameters = {MANIFEST_PARAMETER: owners[spec.name]} if spec.name in owners else {}
        written[f"{spec.name}/{GPU_CONFIG}"] = gpu_config(spec, parameters, backend)
        written[f"{spec.name}/{CPU_CONFIG}"] = cpu_config(spec, parameters)
        if spec.name in owners:
            written[f"{spec.name}/{MANIFEST_FILE}"] = owners[spec.name] + "\n"
    return written


def write_graph(
    run: Run, graph: Graph, path: Path, stamps: Mapping[str, str], precision: Precision
) -> None:
    """Export one graph of a run to `path`, stamped, in a precision; nothing is compared here.

    Raises ContractMismatch, InvalidInput and ToolMissing as `export` and `apply` do.
    """
    example = tuple(tensor[:_EXAMPLE_BATCH] for tensor in graph.inputs)
    export(graph.module, graph.spec, example, path, stamps)
    apply(graph, path, precision, run)


def write_repository(
    run: Run,
    output: Path,
    report: Callable[[str], None],
    backend: GpuBackend = "onnxruntime",
    precisions: Mapping[str, Precision] | None = None,
) -> list[Finding]:
    """Export, verify and write every graph of a run; `output` is replaced as a whole.

    Until the last graph has passed, all files are in a folder beside `output`: an export that
    fails or is interrupted leaves the repository that was there. TensorRT engines that were built
    from the very same graphs stay.

    Parameters
    ----------
    output: a repository, an empty folder, or nothing yet.
    report: gets a line per graph.
    backend: which of Triton's backends runs the graphs on a GPU.
    precisions: of graphs by name; fp32 where not named.

    Returns all parity figures.

    Raises
    ------
    ContractMismatch: a graph is not that of the contract, or a figure is out of bounds.
    InvalidInput: `output` holds something else that would be lost, or a graph may not have the
        precision asked for.
    ToolMissing: a precision needs a tool that is not installed.
    """
    output, precisions = output.resolve(), precisions or {}
    specs = graphs(run.resolution, run.encoder_side)
    _check_replaceable(output, specs)
    ids = space_ids(run, precisions.get("encoder", Precision.FP32))
    with replacing(output) as folder:
        made = assemble(run)
        for graph in made:
            path = model_path(folder, graph.spec)
            path.parent.mkdir(parents=True)
            precision = precisions.get(graph.spec.name, Precision.FP32)
            write_graph(run, graph, path, metadata(graph, ids), precision)
            report(f"{graph.spec.name}: {model_bytes(path) / 1e6:.2f} MB")
        sessions = {spec.name: Session(model_path(folder, spec), spec) for spec in specs}
        findings = measure(run, made, sessions)
        refuse(findings)
        for name, text in texts(specs, manifests(run, sessions, findings), backend).items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        carried, stale = carry_engines(output, folder, specs)
        for name in carried:
            report(f"{name}: its engine is kept")
        for name in stale:
            report(f"{name}: its engine was built from another graph and is dropped")
        write_checksums(folder)
    return findings


def _check_replaceable(output: Path, specs: Iterable[GraphSpec]) -> None:
    if output.exists():
        known = {CHECKSUMS_FILE, *(spec.name for spec in specs)}
        strangers = {path.name for path in output.iterdir()} - known
        if strangers:
            raise InvalidInput(
                "output", f"{output} with {min(strangers)}", "a repository, or an empty folder"
            )
