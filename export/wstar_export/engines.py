"""TensorRT engines of a repository: `model.plan` beside each `model.onnx`, built on its own GPU.

A plan belongs to one type of GPU and one version of TensorRT, so it is built where it is served,
with the image that serves it. The ONNX files stay: a graph without a plan is served from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import onnx
import torch

from wstar.checksums import check_checksums, update_checksums
from wstar.errors import ContractMismatch, InvalidInput, RunnerUnavailable
from wstar.files import write_file
from wstar.graphs import GraphSpec
from wstar.images import decode
from wstar_export.engine_files import check_plan, contract, plan_files
from wstar_export.engine_parity import Engine, Reference, compare, references
from wstar_export.findings import refuse
from wstar_export.onnx import check_interface
from wstar_export.plans import build_plan, flags
from wstar_export.profiles import profile
from wstar_export.repository import model_path
from wstar_export.sidecar import Machine, Sidecar, onnx_sha256, recorded_profile
from wstar_export.tools import ToolMissing
from wstar_export.trtexec import trtexec_line

_LIBRARY = "tensorrt"
_MAX_BYTES = 64 * 2**20

Report = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """What plans are built with and for: the module, the machine, and where tensors live."""

    trt: ModuleType
    machine: Machine
    device: torch.device


@dataclass(frozen=True)
class Settings:
    """How plans are built.

    workspace_mib: memory a layer may use while it runs, MiB.
    timing_cache: folder of measurements of earlier builds, one file per GPU and version; None
        measures anew.
    """

    workspace_mib: int = 4096
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        """Refuse a workspace that no layer fits into."""
        if self.workspace_mib < 1:
            raise InvalidInput("workspace_mib", self.workspace_mib, "1 or more")


def this_target() -> Target:
    """TensorRT and the first GPU of this machine.

    Raises
    ------
    ToolMissing: TensorRT is not installed. RunnerUnavailable: torch sees no GPU.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise ToolMissing(
            "tensorrt",
            "building engines",
            "pip install tensorrt-cu13, in the version of the image that will serve them; or "
            "build with the lines of `wstar-export engines --trtexec`",
        ) from error
    if not torch.cuda.is_available():
        raise RunnerUnavailable(
            f"torch {torch.__version__} sees no GPU; engines are built and compared on the GPU "
            "that will serve them, with a CUDA build of torch"
        )
    device = torch.device("cuda", 0)
    major, minor = torch.cuda.get_device_capability(device)
    gpu = torch.cuda.get_device_name(device)
    machine = Machine(tensorrt.__name__, tensorrt.__version__, gpu, f"{major}.{minor}")
    return Target(tensorrt, machine, device)


def build_engines(
    target: Target, repository: Path, settings: Settings, replace: bool, report: Report
) -> list[str]:
    """Build, compare and write the plan of every graph that has none for this machine.

    A plan is written when it has answered as ONNX Runtime does, together with a sidecar that says
    what it is. A graph of which TensorRT makes no such plan keeps its ONNX file and nothing else.

    Parameters
    ----------
    repository: folder written by `wstar-export repository`.
    replace: remove plans built elsewhere or from other graphs; without it they are refused.
    report: gets a line per step.

    Returns the names of graphs without a plan.

    Raises
    ------
    ContractMismatch: the repository is broken, or holds a plan that does not belong here.
    InvalidInput: the target is not TensorRT: Triton loads plans of no other product.
    """
    if target.machine.library != _LIBRARY:
        raise InvalidInput("library", target.machine.library, _LIBRARY)
    manifest, specs = contract(repository)
    wanted = _without_plan(target.machine, repository, specs, replace, report)
    for path in (path for spec in wanted for path in plan_files(repository, spec)):
        path.unlink(missing_ok=True)
    # Plans prove themselves by their sidecars, whatever an interrupted build left in the list.
    update_checksums(repository, [path for spec in specs for path in plan_files(repository, spec)])
    check_checksums(repository)
    if not wanted:
        return []
    side = manifest.encoder_side
    picture = decode(manifest.golden.image_png, max_bytes=_MAX_BYTES, max_pixels=side * side)
    answers = references(repository, manifest.resolution, side, picture)
    failed = []
    for spec in wanted:
        try:
            _build(target, repository, spec, settings, answers[spec.name], report)
        except ContractMismatch as error:
            report(f"{error}; no plan: its ONNX file can be served")
            failed.append(spec.name)
    return failed


def _without_plan(
    machine: Machine,
    repository: Path,
    specs: tuple[GraphSpec, ...],
    replace: bool,
    report: Report,
) -> list[GraphSpec]:
    """Graphs without a plan, and with `replace` those whose plan does not belong here."""
    wanted = []
    for spec in specs:
        if not any(path.exists() for path in plan_files(repository, spec)):
            wanted.append(spec)
            continue
        try:
            check_plan(machine, repository, spec)
            report(f"{spec.name}: its plan is up to date")
        except ContractMismatch:
            if not replace:
                raise
            wanted.append(spec)
    return wanted


def _build(
    target: Target,
    repository: Path,
    spec: GraphSpec,
    settings: Settings,
    reference: Reference,
    report: Report,
) -> None:
    model = model_path(repository, spec)
    check_interface(onnx.load(model, load_external_data=False), spec)
    shapes, workspace = profile(spec), settings.workspace_mib
    cache = _timing_cache(settings.timing_cache, target.machine)
    plan_path, sidecar_path = plan_files(repository, spec)
    report(trtexec_line(model, plan_path, shapes, workspace, cache))

    known = None if cache is None else cache.read_bytes() if cache.exists() else b""
    plan = build_plan(target.trt, model, shapes, workspace, known, report)
    findings = compare(Engine(target.trt, plan.data, spec, target.device), spec, reference)
    refuse(findings)
    sidecar = Sidecar(
        graph=spec.name,
        machine=target.machine,
        onnx_sha256=onnx_sha256(model),
        plan_sha256=sha256(plan.data).hexdigest(),
        precision=reference.precision.value,
        profile=recorded_profile(shapes),
        flags=flags(workspace),
        parity={finding.name: finding.value for finding in findings},
    )
    if cache is not None and plan.timing_cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_file(cache, plan.timing_cache)
    write_file(plan_path, plan.data)
    write_file(sidecar_path, sidecar.to_json().encode())
    update_checksums(repository, (plan_path, sidecar_path))
    figures = ", ".join(f"{finding.name} {finding.value:.3g}" for finding in findings)
    report(f"{spec.name}: {plan.layers} layers, {len(plan.data) / 1e6:.2f} MB; {figures}")


def _timing_cache(folder: Path | None, machine: Machine) -> Path | None:
    if folder is None:
        return None
    name = f"{machine.gpu}-sm{machine.compute_capability}-{machine.library}-{machine.version}"
    return folder / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', name)}.timing"
