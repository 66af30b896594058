"""Runs the graphs in this process with ONNX Runtime on CPUs: the only file that knows it."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from wstar.checksums import check_checksums
from wstar.errors import ContractMismatch, InvalidInput, RunnerUnavailable
from wstar.graphs import GraphSpec, Space, classifiers, flow, flow_inverse, flow_name
from wstar.space import SPACE_ID_STAMP, SpaceManifest, agreed_graphs
from wstar_service.batcher import Batcher
from wstar_service.contract import OPTIONAL_GRAPH, Found, check_tensors, not_served, part_size
from wstar_service.runner import Array, Observer

_DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_NO_WARNINGS = 3


class EmbeddedRunner:
    """A repository folder, loaded and checked.

    One thread runs graphs, one after another, each on all its CPU threads: two at once would
    only fight for the same cores. What several callers want of one graph runs as one batch.
    """

    def __init__(
        self,
        manifests: Mapping[Space, SpaceManifest],
        specs: Sequence[GraphSpec],
        sessions: Mapping[str, onnxruntime.InferenceSession],
        *,
        observer: Observer | None = None,
        max_delay_s: float = 0.0,
    ) -> None:
        self._manifests = manifests
        self._outputs = {spec.name: [output.name for output in spec.outputs] for spec in specs}
        self._sessions = sessions
        sizes = {spec.name: part_size(spec) for spec in specs}
        self._batcher = Batcher(self._execute, sizes, observer=observer, max_delay_s=max_delay_s)

    @classmethod
    def open(
        cls,
        repository: Path,
        threads: int,
        *,
        observer: Observer | None = None,
        max_delay_s: float = 0.0,
    ) -> EmbeddedRunner:
        """Load `<graph>/1/model.onnx` of every graph and `<flow graph>/space.json` of every space.

        Every file of the repository is compared with its checksum first. A repository without
        the folder `generator` is served without it.

        observer: is told of every batch, and of how many faces wait.
        max_delay_s: how long an idle engine waits for more work to put into one batch.

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
        check_checksums(repository, optional=OPTIONAL_GRAPH)
        manifests = {space: _manifest(repository, space) for space in Space}
        specs = agreed_graphs(manifests, "space.json")
        specs = tuple(
            spec
            for spec in specs
            if spec.name != OPTIONAL_GRAPH or (repository / spec.name).exists()
        )
        sessions = {spec.name: _session(repository, spec, threads) for spec in specs}
        for manifest in manifests.values():
            _check_stamps(manifest, sessions)
        return cls(manifests, specs, sessions, observer=observer, max_delay_s=max_delay_s)

    @property
    def description(self) -> str:
        """Engine and version."""
        return f"onnxruntime {onnxruntime.__version__} CPU"

    @property
    def graphs(self) -> frozenset[str]:
        """Names of the graphs served."""
        return frozenset(self._outputs)

    async def manifests(self) -> Mapping[Space, SpaceManifest]:
        """Return the manifest of each space."""
        return self._manifests

    async def run(self, *graphs: str, **arrays: Array) -> dict[str, Array]:
        """Run graphs, each on the outputs of the one before, in parts of at most a `max_batch`.

        Parts of large pictures are smaller: one of 1024 px, four of 256 px.

        Raises
        ------
        RunnerUnavailable: the graph failed or is not served, or the runner is closed.
        """
        for graph in graphs:
            if graph not in self._outputs:
                raise not_served(graph)
        return await self._batcher.run(graphs, arrays)

    async def lost(self) -> str:
        """Never: what this process has loaded stays as it is."""
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    async def close(self) -> None:
        """Wait for the batch in progress and end the thread."""
        await self._batcher.close()

    def _execute(self, graph: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        names = self._outputs[graph]
        try:
            results = self._sessions[graph].run(names, dict(arrays))
        except Exception as error:  # ONNX Runtime's exceptions share no base class.
            raise RunnerUnavailable(f"graph {graph!r} failed: {error}") from error
        return dict(zip(names, results, strict=True))


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
