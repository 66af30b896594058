"""What a TensorRT plan is, in a JSON file beside it: a plan runs on the machine it was built for.

TensorRT itself refuses a plan of another version, and runs one of another graph without a word.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import external_data_helper

from wstar.errors import ContractMismatch
from wstar_export.profiles import Profile

PLAN_FILE = "model.plan"
SIDECAR_FILE = "model.plan.json"


@dataclass(frozen=True)
class Machine:
    """What a plan is tied to.

    library: name of the Python module that builds: `tensorrt`, or that of another product.
    version: its full version. gpu: name of the device. compute_capability: such as "9.0".
    """

    library: str
    version: str
    gpu: str
    compute_capability: str


@dataclass(frozen=True)
class Sidecar:
    """One plan.

    onnx_sha256: of the graph and of the weights beside it. plan_sha256: of the plan.
    precision: what the graph computes in (`tolerances.Precision`).
    profile: input, then "min", "opt" and "max", then the shape.
    flags: what the builder was told. parity: measured against ONNX Runtime, name to number.
    """

    graph: str
    machine: Machine
    onnx_sha256: str
    plan_sha256: str
    precision: str
    profile: Mapping[str, Mapping[str, list[int]]]
    flags: Mapping[str, bool | int | str]
    parity: Mapping[str, float]

    def to_json(self) -> str:
        """Write as JSON, the same sidecar as the same text."""
        return json.dumps(asdict(self), indent=2, sort_keys=True) + "\n"


def read_sidecar(path: Path, graph: str) -> Sidecar:
    """Read the sidecar of a graph's plan.

    Raises
    ------
    ContractMismatch: it is missing, or no sidecar.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        machine = Machine(**content.pop("machine"))
        return Sidecar(machine=machine, **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ContractMismatch(
            graph, path.name, "the sidecar that `wstar-export engines` writes", error
        ) from error


def recorded_profile(profile: Profile) -> dict[str, dict[str, list[int]]]:
    """A profile as a sidecar writes it."""
    return {
        name: {which: list(shape) for which, shape in asdict(shapes).items()}
        for name, shapes in profile.items()
    }


def check_sidecar(sidecar: Sidecar, machine: Machine, model: Path, profile: Profile) -> None:
    """Refuse a plan that was not built here, from this graph and for these batches.

    Parameters
    ----------
    machine: the one that is to run the plan.
    model: the ONNX file; the plan lies beside it.

    Raises
    ------
    ContractMismatch: names the first difference.
    """
    found, graph = sidecar.machine, sidecar.graph
    comparisons: list[tuple[str, object, object]] = [
        ("graph of the sidecar", model.parent.parent.name, graph),
        ("library that built the plan", machine.library, found.library),
        ("version of TensorRT that built the plan", machine.version, found.version),
        ("GPU the plan was built for", machine.gpu, found.gpu),
        ("compute capability", machine.compute_capability, found.compute_capability),
        ("batches of the plan", recorded_profile(profile), sidecar.profile),
    ]
    for what, expected, recorded in comparisons:
        if recorded != expected:
            raise ContractMismatch(graph, what, expected, recorded)
    # Hashes last: those of full-size graphs take seconds.
    for file, digest, recorded in (
        (model.name, onnx_sha256(model), sidecar.onnx_sha256),
        (PLAN_FILE, _sha256(model.with_name(PLAN_FILE)), sidecar.plan_sha256),
    ):
        if digest != recorded:
            raise ContractMismatch(graph, f"{file} of the sidecar: SHA-256", digest, recorded)


def onnx_sha256(path: Path) -> str:
    """Hash a graph together with the weights beside it, if there are any."""
    model = onnx.load(path, load_external_data=False)
    beside = {
        external_data_helper.ExternalDataInfo(tensor).location
        for tensor in model.graph.initializer
        if external_data_helper.uses_external_data(tensor)
    }
    digests = [_sha256(path), *(_sha256(path.with_name(name)) for name in sorted(beside))]
    return digests[0] if not beside else hashlib.sha256("".join(digests).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
