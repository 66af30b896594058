"""Runs the graphs in this process with ONNX Runtime on CPUs: the only file that knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from wstar.attributes import ATTRIBUTES
from wstar.errors import ContractMismatch, InvalidInput, RunnerUnavailable
from wstar.graphs import (
    GraphSpec,
    Space,
    TensorSpec,
    classifiers,
    flow,
    flow_inverse,
    graphs,
)
from wstar.space import SPACE_ID_STAMP, SpaceManifest
from wstar_service.runner import Array

_ONNX_TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}
_NO_WARNINGS = 3


class EmbeddedRunner:
    """A repository folder, loaded and checked.

    One thread runs graphs, one after another, each on all its CPU threads: two at once would
    only fight for the same cores, and a cancelled call that waits its turn never starts.
    """

    def __init__(
        self,
        manifests: Mapping[Space, SpaceManifest],
        specs: Sequence[GraphSpec],
        sessions: Mapping[str, onnxruntime.InferenceSession],
    ) -> None:
        self._manifests = manifests
        self._specs = {spec.name: spec for spec in specs}
        self._sessions = sessions
        self._worker = ThreadPoolExecutor(1, "graphs")

    @classmethod
    def open(cls, repository: Path, threads: int) -> EmbeddedRunner:
        """Load `<graph>/1/model.onnx` of every graph and `<flow graph>/space.json` of every space.

        Raises
        ------
        ContractMismatch: a file is missing or broken, a graph is not that of the contract, or
            the spaces disagree about resolution, encoder side or attributes, or a graph is
            stamped with the id of another space.
        InvalidInput: there is no such folder.
        """
        if not repository.is_dir():
            raise InvalidInput(
                "repository",
                str(repository),
                "an existing folder; `wstar-export repository` writes one",
            )
        manifests = {space: _manifest(repository, space) for space in Space}
        first = manifests[Space.W_STAR]
        for space, manifest in manifests.items():
            _same(space, "resolution", first.resolution, manifest.resolution)
            _same(space, "encoder_side", first.encoder_side, manifest.encoder_side)
            _same(space, "attributes", ATTRIBUTES, manifest.attributes)
        specs = graphs(first.resolution, first.encoder_side)
        sessions = {spec.name: _session(repository, spec, threads) for spec in specs}
        for manifest in manifests.values():
            _check_stamps(manifest, sessions)
        return cls(manifests, specs, sessions)

    @property
    def description(self) -> str:
        """Engine and version."""
        return f"onnxruntime {onnxruntime.__version__} CPU"

    async def manifests(self) -> Mapping[Space, SpaceManifest]:
        """Return the manifest of each space."""
        return self._manifests

    async def run(self, graph: str, **arrays: Array) -> dict[str, Array]:
        """Run one graph on (B, ...) inputs, in parts of at most its `max_batch`."""
        spec = self._specs[graph]
        parts = [
            await asyncio.get_running_loop().run_in_executor(self._worker, self._run, spec, part)
            for part in _parts(arrays, spec.max_batch)
        ]
        names = [output.name for output in spec.outputs]
        if len(parts) == 1:
            return dict(zip(names, parts[0], strict=True))
        return dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))

    async def close(self) -> None:
        """Wait for the run in progress and end the thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _run(self, spec: GraphSpec, arrays: Mapping[str, Array]) -> list[Array]:
        names = [output.name for output in spec.outputs]
        try:
            results: list[Array] = self._sessions[spec.name].run(names, dict(arrays))
        except Exception as error:  # ONNX Runtime's exceptions share no base class.
            raise RunnerUnavailable(f"graph {spec.name!r} failed: {error}") from error
        return results


def _parts(arrays: Mapping[str, Array], size: int) -> Iterator[dict[str, Array]]:
    batch = len(next(iter(arrays.values())))
    for start in range(0, batch, size):
        yield {name: array[start : start + size] for name, array in arrays.items()}


def _manifest(repository: Path, space: Space) -> SpaceManifest:
    # The name of a flow does not depend on the resolution, which only the manifest tells.
    path = repository / flow(space, 8).name / "space.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractMismatch(path.parent.name, "space.json", "a readable file", error) from error
    manifest = SpaceManifest.from_json(text, str(path))
    _same(space, "space", space, manifest.space)
    return manifest


def _same(space: Space, name: str, expected: object, found: object) -> None:
    if found != expected:
        raise ContractMismatch(flow(space, 8).name, f"space.json {name}", expected, found)


def _check_stamps(
    manifest: SpaceManifest, sessions: Mapping[str, onnxruntime.InferenceSession]
) -> None:
    """Compare the id that each graph file of a space carries, if any, with the manifest's."""
    for graph in (flow, flow_inverse, classifiers):
        name = graph(manifest.space, manifest.resolution).name
        stamp = sessions[name].get_modelmeta().custom_metadata_map.get(SPACE_ID_STAMP)
        if stamp not in (None, manifest.space_id):
            raise ContractMismatch(
                name, f"{SPACE_ID_STAMP} of 1/model.onnx", manifest.space_id, stamp
            )


def _session(repository: Path, spec: GraphSpec, threads: int) -> onnxruntime.InferenceSession:
    path = repository / spec.name / "1" / "model.onnx"
    if not path.is_file():
        raise ContractMismatch(spec.name, "1/model.onnx", "a file", "nothing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _NO_WARNINGS
    # Idle threads that spin would take the cores from the next graph, and from a CPU quota.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base class.
        raise ContractMismatch(spec.name, "1/model.onnx", "a readable graph", error) from error
    _check(spec, "input", spec.inputs, session.get_inputs())
    _check(spec, "output", spec.outputs, session.get_outputs())
    return session


def _check(
    spec: GraphSpec, kind: str, expected: Sequence[TensorSpec], found: Sequence[Any]
) -> None:
    """Compare one side of a graph with the contract; the batch axis must be free."""
    names = [tensor.name for tensor in expected]
    if sorted(names) != sorted(tensor.name for tensor in found):
        raise ContractMismatch(spec.name, f"{kind}s", names, [tensor.name for tensor in found])
    tensors = {tensor.name: tensor for tensor in found}
    for tensor in expected:
        other = tensors[tensor.name]
        where = f"{kind} {tensor.name!r}"
        if other.type != _ONNX_TYPES[tensor.dtype]:
            raise ContractMismatch(
                spec.name, f"{where} type", _ONNX_TYPES[tensor.dtype], other.type
            )
        batch, *shape = other.shape or [0]
        if isinstance(batch, int) or tuple(shape) != tensor.shape:
            wanted = ["batch", *tensor.shape]
            raise ContractMismatch(spec.name, f"{where} shape", wanted, other.shape)
