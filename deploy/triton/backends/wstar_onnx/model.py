"""The Triton backend `wstar_onnx`: runs `<model>/<version>/model.onnx` on CPUs.

A Python-based backend: Triton starts one process of this file per model instance, in an
environment of numpy below 2 and onnxruntime. All it knows of a model is its configuration.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from cpus import allowed_cpus

# It reports to its maker unless told before it is imported: wstar calls nobody.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime  # noqa: E402

CHECKSUMS = "SHA256SUMS"
_TYPES = {"TYPE_UINT8": "tensor(uint8)", "TYPE_FP32": "tensor(float)"}
_NO_WARNINGS = 3


class TritonPythonModel:
    """One instance of one model, as Triton's Python backend calls it."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph on all CPUs this process may use; Triton reports what is raised."""
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        folder = Path(args["model_repository"]) / args["model_version"]
        check_sums(folder)
        self._session = _session(folder / "model.onnx")
        check_tensors("input", config["input"], self._session.get_inputs())
        check_tensors("output", config["output"], self._session.get_outputs())

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Run requests as one batch.

        Triton itself leaves out those that were cancelled in its queue. To ask it again here, by
        `is_cancelled`, ends tritonserver 2.51 with a segmentation fault if a caller leaves then.
        """
        inputs = {name: [_array(request, name) for request in requests] for name in self._inputs}
        sizes = [len(array) for array in inputs[self._inputs[0]]]
        batch = {name: _joined(arrays) for name, arrays in inputs.items()}
        try:
            found = self._session.run(self._outputs, batch)
        except Exception as error:  # ONNX Runtime's exceptions share no base class.
            failed = pb_utils.TritonError(f"ONNX Runtime: {error}", pb_utils.TritonError.INTERNAL)
            return [pb_utils.InferenceResponse(error=failed) for _ in requests]
        ends = np.cumsum(sizes)[:-1]
        shares = zip(*(np.split(array, ends) for array in found), strict=True)
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(n, a) for n, a in zip(self._outputs, share, strict=True)]
            )
            for share in shares
        ]


def check_tensors(kind: str, expected: Sequence[Any], found: Sequence[Any]) -> None:
    """Compare the configuration with the graph; Triton describes a model by the former alone.

    Raises pb_utils.TritonModelException.
    """
    configured = {
        t["name"]: (_TYPES.get(t["data_type"]), list(map(int, t["dims"]))) for t in expected
    }
    graph = {t.name: (t.type, t.shape[1:]) for t in found}
    if configured != graph:
        raise pb_utils.TritonModelException(
            f"{kind}s of the configuration: {configured}, of model.onnx: {graph}"
        )


def check_sums(folder: Path) -> None:
    """Compare the files of a version folder with the repository's checksums, if it has any.

    Raises pb_utils.TritonModelException: a file is missing, changed or not listed.
    """
    repository = folder.parents[1]
    listed = repository / CHECKSUMS
    if not listed.is_file():
        return
    lines = (line.split(maxsplit=1) for line in listed.read_text().splitlines())
    prefix = f"{folder.relative_to(repository).as_posix()}/"
    expected = {name: digest for digest, name in lines if name.startswith(prefix)}
    found = {f"{prefix}{path.name}": _sha256(path) for path in folder.iterdir() if path.is_file()}
    wrong = {n for n in {*expected, *found} if expected.get(n) != found.get(n)}
    if wrong:
        raise pb_utils.TritonModelException(f"{', '.join(sorted(wrong))}: not as in {CHECKSUMS}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = allowed_cpus()
    options.inter_op_num_threads = 1
    options.log_severity_level = _NO_WARNINGS
    # Idle threads that spin would take the cores from the next graph, and from a CPU quota.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _array(request: Any, name: str) -> np.ndarray[Any, Any]:  # noqa: ANN401
    array: np.ndarray[Any, Any] = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return array


def _joined(arrays: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
