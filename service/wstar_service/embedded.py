"""Runs the graphs in this process with ONNX Runtime on CPUs: the only file that knows it."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnxruntime

from wstar.checksums import check_checksums
from wstar.errors import ContractMismatch, InvalidInput, RunnerUnavailable
from wstar.graphs import GraphSpec, Space, classifiers, flow, flow_inverse, flow_name
from wstar.space import SPACE_ID_STAMP, SpaceManifest, agreed_graphs
from wstar_service.contract import Found, check_tensors, joined, parts
from wstar_service.runner import Array

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_NO_WARNINGS = 3
# Of the pictures of one run: memory grows with every picture, speed does not.
_PIXELS = 2**18


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

        Every file of the repository is compared with its checksum first.

        Raises
        ------
        ContractMismatch: a file is missing or changed, a graph is not that of the contract, or
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
        check_checksums(repository)
        manifests = {space: _manifest(repository, space) for space in Space}
        specs = agreed_graphs(manifests, "space.json")
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
        """Run one graph on (B, ...) inputs, in parts of at most its `max_batch`.

        Parts of large pictures are smaller: one of 1024 px, four of 256 px.
        """
        spec = self._specs[graph]
        found = [
            await asyncio.get_running_loop().run_in_executor(self._worker, self._run, spec, part)
            for part in parts(arrays, _part_size(spec))
        ]
        return joined(found)

    async def lost(self) -> str:
        """Never: what this process has loaded stays as it is."""
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    async def close(self) -> None:
        """Wait for the run in progress and end the thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _run(self, spec: GraphSpec, arrays: Mapping[str, Array]) -> dict[str, Array]:
        names = [output.name for output in spec.outputs]
        try:
            results = self._sessions[spec.name].run(names, dict(arrays))
        except Exception as error:  # ONNX Runtime's exceptions share no base class.
            raise RunnerUnavailable(f"graph {spec.name!r} failed: {error}") from error
        return dict(zip(names, results, strict=True))


def _part_size(spec: GraphSpec) -> int:
    pictures = [t.shape for t in (*spec.inputs, *spec.outputs) if t.dtype == "uint8"]
    largest = max((height * width for height, width, _ in pictures), default=1)
    return max(1, min(spec.max_batch, _PIXELS // largest))


def _manifest(repository: Path, space: Space) -> SpaceManifest:
    path = repository / flow_name(space) / "space.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractMismatch(path.parent.name, "space.json", "a readable file", error) from error
    return SpaceManifest.from_json(text, str(path))


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
    _return_freed_memory()
    check_tensors(spec.name, "input", spec.inputs, _found(session.get_inputs()))
    check_tensors(spec.name, "output", spec.outputs, _found(session.get_outputs()))
    return session


def _found(tensors: Sequence[Any]) -> list[Found]:
    return [Found(t.name, _DTYPES.get(t.type, t.type), tuple(t.shape)) for t in tensors]


def _return_freed_memory() -> None:
    """Give back what loading a graph has freed: glibc keeps it, as much as the weights again."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # Other C libraries keep nothing.
    if trim is not None:
        trim(0)
