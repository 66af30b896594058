"""An existing repository, compared with the run that it should come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from wstar.errors import ContractMismatch
from wstar.graphs import Space, flow
from wstar.space import Golden, SpaceManifest
from wstar_export.assembly import Graph, assemble, space_ids
from wstar_export.manifests import golden
from wstar_export.onnx import check_interface
from wstar_export.repository import MANIFEST_FILE, metadata, model_path, texts
from wstar_export.run import Run
from wstar_export.verify import Finding, Session, measure


def audit(run: Run, repository: Path) -> list[Finding]:
    """Check every file of a repository and measure every graph again.

    Returns parity figures and, for each flow graph, how far the golden answer is off; whether
    they are within their bounds is for the caller to see.

    Raises
    ------
    ContractMismatch: a file is missing or broken, a graph is not that of the contract, or files
        come from another run.
    """
    made, ids = assemble(run), space_ids(run)
    for graph in made:
        _check_model(graph, model_path(repository, graph.spec), metadata(graph, ids))
    spaces = {space: _manifest(run, space, repository, ids[space]) for space in Space}
    for name, text in texts([graph.spec for graph in made], spaces).items():
        if _text(repository / name) != text:
            raise ContractMismatch(Path(name).parts[0], name, "what export writes", "another text")
    sessions = {g.spec.name: Session(model_path(repository, g.spec), g.spec) for g in made}
    findings = measure(run, made, sessions)
    for space, manifest in spaces.items():
        findings += _golden_findings(run, space, manifest.golden, sessions)
    return findings


def _check_model(graph: Graph, path: Path, stamp: Mapping[str, str]) -> None:
    try:
        model = onnx.load(path)
    except Exception as error:  # Missing files and broken protobufs share no base class.
        raise ContractMismatch(graph.spec.name, path.name, "a readable graph", error) from error
    check_interface(model, graph.spec)
    found = {item.key: item.value for item in model.metadata_props}
    for key, value in stamp.items():
        if found.get(key) != value:
            raise ContractMismatch(graph.spec.name, key, value, found.get(key))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractMismatch(path.parent.name, path.name, "a readable file", error) from error


def _manifest(run: Run, space: Space, repository: Path, space_id: str) -> SpaceManifest:
    graph = flow(space, run.resolution).name
    path = repository / graph / MANIFEST_FILE
    manifest = SpaceManifest.from_json(_text(path), f"{graph}/{MANIFEST_FILE}")
    if manifest.space_id != space_id:
        raise ContractMismatch(graph, "space_id", space_id, manifest.space_id)
    return manifest


def _golden_findings(
    run: Run, space: Space, recorded: Golden, sessions: Mapping[str, Session]
) -> list[Finding]:
    """How far the graphs' answer is off, by the measure of the service's start-up check."""
    answer = golden(run, space, sessions)
    return [
        Finding(
            flow(space, run.resolution).name,
            f"golden_{name}_error",
            float(np.abs(wanted - found).max() / np.std(wanted, dtype=np.float64)),
            recorded.tolerance,
        )
        for name, wanted, found in (
            ("w_star", recorded.w_star, answer.w_star),
            ("logits", recorded.logits, answer.logits),
        )
    ]
