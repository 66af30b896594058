"""A world of linear maps at resolution 8, whose answers can be computed by hand.

Row 0 of w holds the 192 bytes of an 8 x 8 picture, each divided by 255; the rest is 0. A space
multiplies w by its scale. Attribute k reads number k of a code with weight 2, attribute 1 also
number 0, and subtracts 1. So a grey picture of byte v has w = v / 255, w_star = 2 v / 255 in
W_STAR, and logits 4 v / 255 - 1, 8 v / 255 - 1 for attribute 1.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.service.triton_process import DEMO, TritonProcess, copied

from wstar.attributes import ATTRIBUTES
from wstar.checksums import write_checksums
from wstar.codes import Code
from wstar.graphs import GraphSpec, Space, graphs
from wstar.images import encode
from wstar.space import Golden, SpaceManifest
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub
from wstar_service.runner import Array
from wstar_service.server import Server
from wstar_service.settings import Address, Settings

RESOLUTION = SIDE = 8
N, K, PIXELS = 4, len(ATTRIBUTES), SIDE * SIDE * 3
SCALES = {Space.W_STAR: 2.0, Space.W_STAR_ID: 4.0, Space.W_PLUS: 1.0}
BIAS = -1.0
GOLDEN_BYTE = 51
GRAPHS = frozenset(spec.name for spec in graphs(RESOLUTION, SIDE))


@dataclass
class World:
    """The linear world; a dependent one has attribute 3 read the same number as attribute 2."""

    dependent: bool = False
    a: NDArray[np.float32] = field(init=False)

    def __post_init__(self) -> None:
        """Write the read-out matrix A (K, M)."""
        self.a = np.zeros((K, N * 512), np.float32)
        self.a[np.arange(K), np.arange(K)] = 2.0
        self.a[1, 0] = 2.0
        if self.dependent:
            self.a[3] = self.a[2]

    @property
    def normals(self) -> NDArray[np.float32]:
        """Unit normals (K, M); 0 where A is."""
        norms = np.linalg.norm(self.a, axis=1, keepdims=True)
        return np.asarray(self.a / np.where(norms > 0, norms, 1.0), np.float32)

    @property
    def specs(self) -> dict[str, GraphSpec]:
        """The contract at this size."""
        return {spec.name: spec for spec in graphs(RESOLUTION, SIDE)}

    def picture(self, byte: int = GOLDEN_BYTE, side: int = SIDE) -> bytes:
        """A grey PNG."""
        return encode(np.full((side, side, 3), byte, np.uint8), "PNG")

    def face(self, byte: int = GOLDEN_BYTE) -> pb.Face:
        """A grey picture as a face."""
        return pb.Face(picture=pb.Picture(data=self.picture(byte)))

    def values(self, byte: float, space: Space) -> NDArray[np.float32]:
        """The code of a grey picture in a space, by hand."""
        code = np.zeros((N, 512), np.float32)
        code[0, :PIXELS] = SCALES[space] * np.float32(byte / 255)
        return code

    def code(self, byte: float, space: Space = Space.W_STAR, half: bool = False) -> pb.Face:
        """The code of a grey picture as a face."""
        values = self.values(byte, space)
        found = Code(values.astype(np.float16) if half else values, space, self.space_id(space))
        return pb.Face(code=found.to_message())

    def logits(self, code: NDArray[np.float32]) -> NDArray[np.float32]:
        """The read-out of codes (..., n, 512)."""
        flat = code.reshape(*code.shape[:-2], -1)
        return np.asarray(flat @ self.a.T + np.float32(BIAS))

    def space_id(self, space: Space) -> str:
        """The id this world gives a space."""
        return f"{space.value.lower()}-test"

    def manifest(self, space: Space) -> SpaceManifest:
        """A complete manifest; distances of reference pairs are spread evenly over 0 to 1."""
        a = self.a.astype(np.float64)
        w_star = self.values(GOLDEN_BYTE, space)
        return SpaceManifest(
            space=space,
            space_id=self.space_id(space),
            resolution=RESOLUTION,
            encoder_side=SIDE,
            attributes=ATTRIBUTES,
            norms=np.linalg.norm(a, axis=1),
            biases=np.full(K, BIAS),
            gram=a @ a.T,
            quantiles=np.linspace(0.0, 1.0, 101),
            perceptual_scale=10.0,
            golden=Golden(self.picture(), w_star, self.logits(w_star), self.picture(), 1e-4),
            evaluation={"pearson": 0.75},
            labels={"world": "linear"},
        )

    @asynccontextmanager
    async def serving(
        self, runner: FakeRunner | None = None, *, ready: bool = True, **settings: object
    ) -> AsyncIterator[Running]:
        """Serve a runner (a fake of this world by default) on free ports of this machine."""
        runner = runner or FakeRunner(self)
        local = Address("127.0.0.1", 0)
        base = Settings(Path(), listen=local, threads=1, grace_s=5.0)
        chosen = replace(base, **settings)  # type: ignore[arg-type]
        server = Server(chosen)
        address = await server.listen()
        try:
            async with grpc.aio.insecure_channel(str(address)) as channel:
                if ready:
                    await server.make_ready(runner)
                runner.calls.clear()
                stub: Any = LatentSpaceServiceStub(channel)
                yield Running(stub, channel, runner, server, address)
        finally:
            await server.stop()


@dataclass
class FakeRunner:
    """Runs the world in numpy, remembers (graph, batch) of each run, waits while `gate` is shut."""

    world: World
    calls: list[tuple[str, int]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    spoiled: Mapping[str, float] = field(default_factory=dict)
    description: str = "fake"
    graphs: frozenset[str] = GRAPHS

    def __post_init__(self) -> None:
        """Start with an open gate."""
        self.gate.set()

    async def manifests(self) -> Mapping[Space, SpaceManifest]:
        """The manifests of the world."""
        return {space: self.world.manifest(space) for space in Space}

    async def run(self, *graphs: str, **arrays: Array) -> dict[str, Array]:
        """Compute graphs, each on the outputs of the one before."""
        found: dict[str, Array] = {}
        for graph in graphs:
            arrays = await self._run(graph, arrays)
            found |= arrays
        return found

    async def _run(self, graph: str, arrays: dict[str, Array]) -> dict[str, Array]:
        """Check the inputs against the contract, then compute."""
        assert graph in self.graphs
        spec = self.world.specs[graph]
        for tensor in spec.inputs:
            assert arrays[tensor.name].dtype == tensor.dtype
            assert arrays[tensor.name].shape[1:] == tensor.shape
        self.entered.set()
        await self.gate.wait()
        self.calls.append((graph, len(next(iter(arrays.values())))))
        if self.failure is not None:
            raise self.failure
        with np.errstate(over="ignore", invalid="ignore"):
            found = self._compute(graph, arrays)
        return {k: v + v.dtype.type(self.spoiled.get(graph, 0.0)) for k, v in found.items()}

    async def lost(self) -> str:
        """When a test says so."""
        await self.gone.wait()
        return "gone"

    async def close(self) -> None:
        """Nothing to let go of."""

    def _compute(self, graph: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if graph == "encoder":
            w = np.zeros((len(arrays["image"]), N * 512), np.float32)
            w[:, :PIXELS] = arrays["image"].reshape(-1, PIXELS) / np.float32(255)
            return {"w": w.reshape(-1, N, 512)}
        if graph == "generator":
            levels = np.rint(arrays["w"].reshape(-1, N * 512)[:, :PIXELS] * 255)
            return {"image": levels.clip(0, 255).astype(np.uint8).reshape(-1, SIDE, SIDE, 3)}
        (space,) = (s for s in Space if graph.replace("_inverse", "") in names_of(s))
        scale = np.float32(SCALES[space])
        if graph.endswith("_inverse"):
            moved = (arrays["coefficients"] @ self.world.normals).reshape(-1, N, 512)
            return {"w": (arrays["w_star"] + moved) / scale}
        if graph.startswith("flow"):
            return {"w_star": scale * arrays["w"], "logits": self.world.logits(scale * arrays["w"])}
        return {"logits": self.world.logits(arrays["w_star"])}


def names_of(space: Space) -> tuple[str, str]:
    """The flow and the classifiers of a space."""
    return f"flow{space.suffix}", f"classifiers{space.suffix}"


@dataclass
class Running:
    """A served world: the stub, its channel, and what is behind."""

    stub: Any
    channel: grpc.aio.Channel
    runner: FakeRunner
    server: Server
    address: Address


@pytest.fixture
def world() -> World:
    """The linear world."""
    return World()


@pytest.fixture
def dependent_world() -> World:
    """The linear world in which attributes 2 and 3 are one."""
    return World(dependent=True)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The linear world as a repository folder of ONNX graphs; read it, do not change it."""
    folder = tmp_path_factory.mktemp("repository")
    world = World()
    for name, spec in world.specs.items():
        write_graph(folder / name / "1" / "model.onnx", spec, world)
    for space in Space:
        text = world.manifest(space).to_json()
        (folder / names_of(space)[0] / "space.json").write_text(json.dumps(json.loads(text)))
    write_checksums(folder)
    return folder


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    """A Triton with the demo repository; ask it, do not change it."""
    server = TritonProcess(DEMO, tmp_path_factory.mktemp("triton") / "log")
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def own_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    """A Triton with a copy of the demo repository, to change, kill and stop."""
    folder = tmp_path_factory.mktemp("own_triton")
    server = TritonProcess(copied(folder), folder / "log")
    yield server
    server.kill()


def write_graph(path: Path, spec: GraphSpec, world: World) -> None:
    """Write one graph of the world as ONNX with a free batch axis."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    # The empty suffix of W_STAR is in every name, so it is asked last.
    scale = next(SCALES[s] for s in reversed(Space) if s.suffix in spec.name)
    types = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    constants: dict[str, Any] = {
        "scale": scale,
        "back": 1 / scale,
        "a": world.a.T,
        "b": np.full(K, BIAS, np.float32),
        "normals": world.normals,
        "byte": 255.0,
        "flat": np.array([-1, N * 512]),
        "rows": np.array([-1, N, 512]),
        "bytes": np.array([-1, PIXELS]),
        "square": np.array([-1, SIDE, SIDE, 3]),
        "pad": np.array([0, 0, 0, N * 512 - PIXELS]),
        "zero": 0.0,
        "first": np.array([0]),
        "last": np.array([PIXELS]),
        "axis": np.array([1]),
    }
    read_out = ["Reshape w_star flat x", "Gemm x a b logits"]
    kind = spec.name.removesuffix("_id").removesuffix("_plus")
    steps = {
        "encoder": [
            "Cast image u",
            "Div u byte v",
            "Reshape v bytes x",
            "Pad x pad zero y",
            "Reshape y rows w",
        ],
        "generator": [
            "Reshape w flat x",
            "Slice x first last axis y",
            "Mul y byte v",
            "Round v r",
            "Clip r zero byte c",
            "Reshape c square s",
            "Cast s image",
        ],
        "flow": ["Mul w scale w_star", *read_out],
        "classifiers": read_out,
    }.get(
        kind,
        [
            "MatMul coefficients normals m",
            "Reshape m rows d",
            "Add w_star d e",
            "Mul e back w",
        ],
    )
    nodes = []
    for step in steps:
        operator, *names = step.split()
        to: dict[str, Any] = {"to": types[spec.outputs[0].dtype]} if operator == "Cast" else {}
        nodes.append(helper.make_node(operator, names[:-1], names[-1:], **to))
    used = {name for node in nodes for name in node.input}
    initializers = [
        numpy_helper.from_array(np.asarray(value, None if np.ndim(value) else np.float32), name)
        for name, value in constants.items()
        if name in used
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(t.name, types[t.dtype], ["batch", *t.shape]) for t in side]
        for side in (spec.inputs, spec.outputs)
    )
    graph = helper.make_graph(nodes, spec.name, inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    path.parent.mkdir(parents=True)
    save(model, path)
