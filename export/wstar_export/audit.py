"""An existing repository: whole, in agreement with itself, and with the run it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx

from wstar.checksums import check_checksums
from wstar.errors import ContractMismatch
from wstar.graphs import (
    CONTRACT_VERSION,
    GraphSpec,
    Space,
    classifiers,
    flow,
    flow_inverse,
    flow_name,
)
from wstar.images import decode, reduced
from wstar.space import GENERATED_SIDE, SPACE_ID_STAMP, SpaceManifest, agreed_graphs
from wstar_export.assembly import assemble, space_ids
from wstar_export.carried import is_stale
from wstar_export.config import GPU_BACKENDS
from wstar_export.findings import Finding
from wstar_export.onnx import check_interface
from wstar_export.repository import CONTRACT_STAMP, MANIFEST_FILE, metadata, model_path, texts
from wstar_export.run import Run
from wstar_export.session import Session
from wstar_export.sidecar import PLAN_FILE
from wstar_export.verify import measure

# Sums in another order tip a level over its rounding edge, once in the generator and once in
# the average; the service's start-up check allows the same.
_GOLDEN_LEVELS = 2.0
_MAX_BYTES = 64 * 2**20


def check(repository: Path) -> list[Finding]:
    """Check a repository without its run, and let its graphs answer the golden requests again.

    Returns how far their answers are off; whether they are within their bounds is for the caller
    to see.

    Raises
    ------
    ContractMismatch: a file is missing, not listed or changed, a graph is not that of the
        contract, or files of one space disagree.
    """
    manifests, specs = _checked(repository)
    return _golden_findings(manifests, _sessions(repository, specs))


def audit(run: Run, repository: Path) -> list[Finding]:
    """Check a repository, and measure every graph of it against the run's networks again.

    Returns parity figures and what `check` returns.

    Raises
    ------
    ContractMismatch: as `check`, or a file comes from another run.
    """
    manifests, specs = _checked(repository)
    sessions = _sessions(repository, specs)
    made, ids = assemble(run), space_ids(run, sessions["encoder"].precision)
    for space, manifest in manifests.items():
        if manifest.space_id != ids[space]:
            raise ContractMismatch(flow_name(space), "space_id", ids[space], manifest.space_id)
    for graph in made:
        _check_stamp(graph.spec, model_path(repository, graph.spec), metadata(graph, ids))
    return [*measure(run, made, sessions), *_golden_findings(manifests, sessions)]


def _checked(repository: Path) -> tuple[dict[Space, SpaceManifest], tuple[GraphSpec, ...]]:
    """Manifests and graphs of a repository all of whose files agree."""
    check_checksums(repository)
    manifests = {space: _manifest(repository, space) for space in Space}
    specs = agreed_graphs(manifests, MANIFEST_FILE)
    resolution = manifests[Space.W_STAR].resolution
    _check_texts(repository, specs, manifests)
    stamps = {spec.name: {CONTRACT_STAMP: str(CONTRACT_VERSION)} for spec in specs}
    for space, manifest in manifests.items():
        for part in (flow, flow_inverse, classifiers):
            name = part(space, resolution).name
            stamps[name][SPACE_ID_STAMP] = manifest.space_id
    for spec in specs:
        model = model_path(repository, spec)
        _check_stamp(spec, model, stamps[spec.name])
        if model.with_name(PLAN_FILE).exists() and is_stale(model.parent, model, spec):
            raise ContractMismatch(
                spec.name, f"1/{PLAN_FILE}", "an engine built from 1/model.onnx", "another"
            )
    return manifests, specs


def _manifest(repository: Path, space: Space) -> SpaceManifest:
    name = f"{flow_name(space)}/{MANIFEST_FILE}"
    return SpaceManifest.from_json(_text(repository, name), name)


def _check_texts(
    repository: Path, specs: Iterable[GraphSpec], manifests: Mapping[Space, SpaceManifest]
) -> None:
    """Compare configurations and manifests with what export writes, on either GPU backend."""
    specs = tuple(specs)
    written = [texts(specs, manifests, backend) for backend in GPU_BACKENDS]
    for name in written[0]:
        if _text(repository, name) not in {variant[name] for variant in written}:
            graph, _, file = name.partition("/")
            raise ContractMismatch(graph, file, "what export writes", "another text")


def _check_stamp(spec: GraphSpec, path: Path, stamp: Mapping[str, str]) -> None:
    """Compare interface and stamp of a graph file; weights beside it are not read."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # Missing files and broken protobufs share no base class.
        where = f"{path.parent.name}/{path.name}"
        raise ContractMismatch(spec.name, where, "a readable graph", error) from error
    check_interface(model, spec)
    found = {item.key: item.value for item in model.metadata_props}
    for key, value in stamp.items():
        if found.get(key) != value:
            raise ContractMismatch(spec.name, key, value, found.get(key))


def _text(repository: Path, name: str) -> str:
    try:
        return (repository / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        graph, _, file = name.partition("/")
        raise ContractMismatch(graph, file, "a readable file", error) from error


def _sessions(repository: Path, specs: Iterable[GraphSpec]) -> dict[str, Session]:
    return {spec.name: Session(model_path(repository, spec), spec) for spec in specs}


def _golden_findings(
    manifests: Mapping[Space, SpaceManifest], sessions: Mapping[str, Session]
) -> list[Finding]:
    """How far the graphs' answers are off, by the measures of the service's start-up check."""
    findings = []
    for space, manifest in manifests.items():
        golden, side = manifest.golden, manifest.encoder_side
        picture = decode(golden.image_png, max_bytes=_MAX_BYTES, max_pixels=side * side)
        drawn = decode(golden.generated_png, max_bytes=_MAX_BYTES, max_pixels=GENERATED_SIDE**2)
        name = flow(space, manifest.resolution).name
        (w,) = sessions["encoder"].run(picture[None])
        w_star, logits = sessions[name].run(w)
        for tensor, wanted, found in (
            ("w_star", golden.w_star, w_star[0]),
            ("logits", golden.logits, logits[0]),
        ):
            error = float(np.abs(wanted - found).max() / np.std(wanted, dtype=np.float64))
            findings.append(Finding(name, f"golden_{tensor}_error", error, golden.tolerance))
        (image,) = sessions["generator"].run(w)
        levels = np.subtract(drawn, reduced(image[0], GENERATED_SIDE), dtype=np.int16)
        largest = float(np.abs(levels).max())
        findings.append(Finding(name, "golden_image_levels", largest, _GOLDEN_LEVELS))
    return findings
