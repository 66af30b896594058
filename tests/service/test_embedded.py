"""The embedded runner on tiny ONNX graphs: same answers as the arithmetic, clear refusals."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from wstar.checksums import write_checksums
from wstar.errors import ContractMismatch, InvalidInput, RunnerUnavailable
from wstar.graphs import Space, graphs
from wstar_service.cpus import allowed_cpus
from wstar_service.embedded import EmbeddedRunner
from wstar_service.runner import Array

if TYPE_CHECKING:
    from tests.service.conftest import World


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A repository of one's own to break."""
    return Path(shutil.copytree(repository, tmp_path / "copy"))


def run(runner: EmbeddedRunner, graph: str, **arrays: Array) -> dict[str, Any]:
    async def scenario() -> dict[str, Any]:
        try:
            return await runner.run(graph, **arrays)
        finally:
            await runner.close()

    return asyncio.run(scenario())


def test_manifests_are_those_beside_the_flows(repository: Path, world: World) -> None:
    runner = EmbeddedRunner.open(repository, 1)
    manifests = asyncio.run(runner.manifests())
    assert set(manifests) == set(Space)
    for space in Space:
        assert manifests[space].to_json() == world.manifest(space).to_json()
    assert runner.description.startswith("onnxruntime ")


def test_graphs_compute_the_world(repository: Path, world: World) -> None:
    runner = EmbeddedRunner.open(repository, 1)
    w = np.stack([world.values(byte, Space.W_PLUS) for byte in (0, 51, 255)])
    found = run(runner, "flow_id", w=w)
    assert set(found) == {"w_star", "logits"}
    np.testing.assert_array_equal(found["w_star"], 4 * w)
    np.testing.assert_allclose(found["logits"], world.logits(4 * w), atol=1e-6)


def test_a_batch_above_the_graph_s_is_split_and_joined(repository: Path) -> None:
    runner = EmbeddedRunner.open(repository, 1)
    image = np.random.default_rng(0).integers(0, 256, (37, 8, 8, 3)).astype(np.uint8)
    sizes: list[int] = []
    session = runner._sessions["encoder"]

    class Counting:
        def run(self, names: list[str], arrays: dict[str, Any]) -> list[Array]:
            sizes.append(len(arrays["image"]))
            return list(session.run(names, arrays))

    runner._sessions = {"encoder": Counting()}
    w = run(runner, "encoder", image=image)["w"]
    assert sizes == [16, 16, 5]
    np.testing.assert_allclose(w[:, 0, :192] * 255, image.reshape(37, -1), atol=1e-4)


@pytest.mark.parametrize(
    ("resolution", "side", "graph", "sizes"),
    [
        (1024, 256, "generator", [1] * 9),
        (256, 256, "generator", [4, 4, 1]),
        (64, 64, "generator", [8, 1]),
        (1024, 256, "encoder", [4, 4, 1]),
        (1024, 256, "flow", [9]),
    ],
)
def test_large_pictures_run_a_few_at_a_time(
    resolution: int, side: int, graph: str, sizes: list[int]
) -> None:
    ran: list[int] = []

    class Counting:
        def run(self, names: list[str], arrays: dict[str, Any]) -> list[Array]:
            ran.append(len(next(iter(arrays.values()))))
            return [np.zeros((ran[-1], 1), np.float32) for _ in names]

    specs = graphs(resolution, side)
    (spec,) = (spec for spec in specs if spec.name == graph)
    runner = EmbeddedRunner({}, specs, {graph: Counting()})
    (tensor,) = spec.inputs
    # Nothing is computed: one byte stands for all pictures.
    run(runner, graph, **{tensor.name: np.broadcast_to(np.uint8(0), (9, *tensor.shape))})
    assert ran == sizes


def test_weights_beside_the_graph_are_read_and_checked(copy: Path, world: World) -> None:
    path = copy / "classifiers" / "1" / "model.onnx"
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="model.onnx.data")
    write_checksums(copy)
    w_star = world.values(51, Space.W_STAR)[None]
    found = run(EmbeddedRunner.open(copy, 1), "classifiers", w_star=w_star)["logits"]
    np.testing.assert_allclose(found, world.logits(w_star), atol=1e-6)  # Sums in another order.
    data = bytearray((path.parent / "model.onnx.data").read_bytes())
    data[-1] ^= 1
    (path.parent / "model.onnx.data").write_bytes(data)
    with pytest.raises(ContractMismatch, match=r"'classifiers', 1/model\.onnx\.data: expected"):
        EmbeddedRunner.open(copy, 1)


def test_a_failing_graph_is_the_engine_s_fault(repository: Path) -> None:
    runner = EmbeddedRunner.open(repository, 1)
    with pytest.raises(RunnerUnavailable, match="graph 'flow' failed"):
        run(runner, "flow", w=np.zeros((1, 5, 512), np.float32))


def test_a_cancelled_run_that_waits_its_turn_never_starts(world: World) -> None:
    free, busy, ran = threading.Event(), threading.Event(), []

    class Waiting:
        def run(self, names: list[str], arrays: dict[str, Any]) -> list[Any]:
            ran.append(float(arrays["w_star"][0, 0, 0]))
            busy.set()
            free.wait(10)
            return [arrays["w_star"][:, 0, :40]]

    async def scenario() -> None:
        specs = list(world.specs.values())
        runner = EmbeddedRunner({}, specs, {"classifiers": Waiting()})
        codes = np.stack([np.full((4, 512), i, np.float32) for i in range(3)])
        tasks = [
            asyncio.ensure_future(runner.run("classifiers", w_star=codes[i : i + 1]))
            for i in range(3)
        ]
        await asyncio.to_thread(busy.wait, 10)
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        free.set()
        await tasks[2]
        await runner.close()

    asyncio.run(scenario())
    assert ran == [0.0, 2.0]


def rename_output(path: Path) -> None:
    model = onnx.load(path)
    model.graph.node[-1].output[0] = model.graph.output[0].name = "codes"
    onnx.save(model, path)


def fix_batch(path: Path) -> None:
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, path)


def widen(path: Path) -> None:
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 16
    onnx.save(model, path)


def retype(path: Path) -> None:
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("graph", "change", "tensor"),
    [
        ("encoder", rename_output, "outputs"),
        ("encoder", fix_batch, "input 'image' shape"),
        ("encoder", widen, "input 'image' shape"),
        ("encoder", retype, "input 'image' type"),
        ("generator", Path.unlink, "1/model.onnx"),
        ("flow_plus", lambda path: path.write_bytes(b"no graph"), "1/model.onnx"),
    ],
)
def test_a_graph_that_is_not_the_contract_s_is_named(
    copy: Path, graph: str, change: Callable[[Path], object], tensor: str
) -> None:
    change(copy / graph / "1" / "model.onnx")
    write_checksums(copy)
    with pytest.raises(ContractMismatch) as caught:
        EmbeddedRunner.open(copy, 1)
    assert (caught.value.graph, caught.value.tensor) == (graph, tensor)


@pytest.mark.parametrize(
    ("key", "value", "tensor"),
    [
        ("space", "W_PLUS", "space.json space"),
        ("encoder_side", 16, "space.json encoder_side"),
        ("attributes", [str(i) for i in range(40)], "space.json attributes"),
        ("contract_version", 0, "contract_version"),
        ("space_id", 7, "manifest"),
        ("labels", {"world": 1}, "manifest"),
        ("labels", ["linear"], "manifest"),
        ("evaluation", {"pearson": "high"}, "manifest"),
        ("evaluation", None, "manifest"),
        ("tolerance_card", {"flow": 1}, "manifest"),
        ("resolution", "8", "manifest"),
        ("encoder_side", True, "manifest"),
        ("attributes", 40, "manifest"),
        ("golden", {}, "manifest"),
    ],
)
def test_spaces_that_disagree_are_named(copy: Path, key: str, value: object, tensor: str) -> None:
    path = copy / "flow_id" / "space.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    write_checksums(copy)
    with pytest.raises(ContractMismatch) as caught:
        EmbeddedRunner.open(copy, 1)
    assert caught.value.tensor == tensor


@pytest.mark.parametrize("tolerance", [0.0, 0.06, float("nan"), "small"])
def test_a_tolerance_that_proves_nothing_is_refused(copy: Path, tolerance: object) -> None:
    path = copy / "flow_id" / "space.json"
    found = json.loads(path.read_text())
    found["golden"]["tolerance"] = tolerance
    path.write_text(json.dumps(found))
    write_checksums(copy)
    with pytest.raises(ContractMismatch, match="manifest"):
        EmbeddedRunner.open(copy, 1)


def test_a_manifest_that_is_no_text(copy: Path) -> None:
    (copy / "flow_id" / "space.json").write_bytes(b"\xff\xfe{}")
    write_checksums(copy)
    with pytest.raises(ContractMismatch, match=r"graph 'flow_id', space\.json"):
        EmbeddedRunner.open(copy, 1)


@pytest.mark.parametrize("graph", ["flow_id", "flow_id_inverse", "classifiers_id"])
def test_a_graph_stamped_for_another_space_is_refused(copy: Path, world: World, graph: str) -> None:
    path = copy / graph / "1" / "model.onnx"
    for space, refused in ((Space.W_STAR_ID, False), (Space.W_STAR, True)):
        model = onnx.load(path)
        model.ClearField("metadata_props")
        model.metadata_props.add(key="wstar_space_id", value=world.space_id(space))
        onnx.save(model, path)
        write_checksums(copy)
        if refused:
            with pytest.raises(ContractMismatch) as caught:
                EmbeddedRunner.open(copy, 1)
            assert caught.value.graph == graph
            assert "wstar_space_id" in caught.value.tensor
        else:
            EmbeddedRunner.open(copy, 1)


def test_a_changed_file_is_named_before_anything_is_loaded(copy: Path) -> None:
    path = copy / "generator" / "1" / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    (copy / "flow" / "space.json").write_text("{}")
    with pytest.raises(ContractMismatch, match=r"graph 'flow', space\.json: expected 'SHA-256"):
        EmbeddedRunner.open(copy, 1)


def test_no_repository_at_all(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"repository: found '.*missing', allowed: an existing"):
        EmbeddedRunner.open(tmp_path / "missing", 1)
    with pytest.raises(ContractMismatch, match=r"graph '\*', SHA256SUMS: expected 'a readable"):
        EmbeddedRunner.open(tmp_path, 1)
    write_checksums(tmp_path)
    with pytest.raises(ContractMismatch, match=r"graph 'flow', space\.json"):
        EmbeddedRunner.open(tmp_path, 1)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("cpu.max", "max 100000", None),
        ("cpu.max", "150000 100000", 2),
        ("cpu.max", "10000 100000", 1),
        ("cpu/cpu.cfs_quota_us", "-1", None),
        ("cpu/cpu.cfs_quota_us", "50000", 1),
        ("none", "", None),
    ],
)
def test_cpus_follow_affinity_and_quota(
    tmp_path: Path, name: str, text: str, expected: int | None
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    (path.parent / "cpu.cfs_period_us").write_text("100000")
    affinity = allowed_cpus(tmp_path / "nowhere")
    assert affinity >= 1
    assert allowed_cpus(tmp_path) == min(affinity, expected or affinity)
