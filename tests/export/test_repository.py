"""A repository: what its files promise and say, and how it replaces another."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from wstar.checksums import CHECKSUMS_FILE, check_checksums
from wstar.errors import CheckpointError, ContractMismatch, InvalidInput
from wstar.graphs import (
    CONTRACT_VERSION,
    GraphSpec,
    Space,
    TensorSpec,
    classifiers,
    flow,
    flow_inverse,
    generator,
    graphs,
)
from wstar.images import decode
from wstar.space import SpaceManifest
from wstar_export.assembly import space_ids, weights_sha256
from wstar_export.onnx import check_interface, export
from wstar_export.repository import write_repository
from wstar_export.run import Run
from wstar_export.wrappers import on_coordinates
from wstar_service.embedded import EmbeddedRunner
from wstar_service.golden import check_golden

SPECS = graphs(64, 64)
# Whatever tells where the exporter ran: folders, and the source files of stack traces.
TRACES = re.compile(rb"site-packages|\.py\b|/(?:ho" rb"me|ro" rb"ot|tmp|wo" rb"rk|usr)/")


def model(repository: Path, name: str) -> onnx.ModelProto:
    return onnx.load(repository / name / "1" / "model.onnx")


def stamp(repository: Path, name: str) -> dict[str, str]:
    return {item.key: item.value for item in model(repository, name).metadata_props}


def manifest(repository: Path, space: Space) -> SpaceManifest:
    path = repository / flow(space, 64).name / "space.json"
    return SpaceManifest.from_json(path.read_text(), str(path))


def test_holds_the_graphs_of_the_contract_and_nothing_else(repository: Path) -> None:
    files = {p.relative_to(repository).as_posix() for p in repository.rglob("*") if p.is_file()}
    expected = {CHECKSUMS_FILE}
    for spec in SPECS:
        expected |= {
            f"{spec.name}/{name}" for name in ("1/model.onnx", "config.pbtxt", "configs/cpu.pbtxt")
        }
    expected |= {f"{flow(space, 64).name}/space.json" for space in Space}
    assert files == expected
    check_checksums(repository)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_graph_is_that_of_the_contract(repository: Path, spec: GraphSpec) -> None:
    check_interface(model(repository, spec.name), spec)


def test_another_graph_is_refused_by_name_and_tensor(repository: Path) -> None:
    with pytest.raises(ContractMismatch, match="'flow_inverse', inputs"):
        check_interface(model(repository, "flow"), flow_inverse(Space.W_STAR, 64))
    with pytest.raises(ContractMismatch, match="'generator', input 'w' shape"):
        check_interface(model(repository, "generator"), generator(128))


def test_no_file_tells_where_it_was_made(repository: Path) -> None:
    for spec in SPECS:
        found = model(repository, spec.name)
        for weights in found.graph.initializer:
            weights.ClearField("raw_data")  # Random bytes spell everything.
        assert not TRACES.search(found.SerializeToString()), spec.name
    for path in (*repository.rglob("*.pbtxt"), *repository.rglob("*.json")):
        assert not TRACES.search(path.read_bytes()), path


@pytest.mark.parametrize("space", list(Space))
def test_graphs_of_a_space_carry_its_id(repository: Path, run: Run, space: Space) -> None:
    wanted = space_ids(run)[space]
    assert manifest(repository, space).space_id == wanted
    for graph in (flow, flow_inverse, classifiers):
        assert stamp(repository, graph(space, 64).name)["wstar_space_id"] == wanted


def test_every_graph_carries_contract_version_and_weights(repository: Path) -> None:
    for spec in SPECS:
        found = stamp(repository, spec.name)
        assert found["wstar_contract_version"] == str(CONTRACT_VERSION)
        assert re.fullmatch("[0-9a-f]{64}", found["wstar_weights_sha256"])
    assert "wstar_space_id" not in stamp(repository, "encoder")


def test_space_id_follows_every_weight(run: Run) -> None:
    before = space_ids(run)
    assert len(set(before.values())) == len(Space)
    read_out = run.read_outs[Space.W_STAR].classifiers
    hashed = weights_sha256(read_out)
    read_out.bias[0] += 1.0
    try:
        assert weights_sha256(read_out) != hashed
        after = space_ids(run)
    finally:
        read_out.bias[0] -= 1.0
    assert [space for space in Space if before[space] != after[space]] == [Space.W_STAR]


@pytest.mark.parametrize("name", ["flow", "flow_inverse", "flow_id", "classifiers"])
def test_large_matrices_are_stored_once(repository: Path, name: str) -> None:
    """A flow uses its basis both ways round: a folded transpose would double it."""
    path = repository / name / "1" / "model.onnx"
    shapes = [tuple(i.dims) for i in onnx.load(path).graph.initializer if np.prod(i.dims) > 1e5]
    assert shapes == [(40, 5120) if name == "classifiers" else (128, 5120)]


@pytest.mark.parametrize("space", list(Space))
def test_manifest_describes_the_matrix_that_is_served(
    repository: Path, run: Run, space: Space
) -> None:
    found, read_out = manifest(repository, space), run.read_outs[space]
    weight = read_out.classifiers.weight.double().numpy()
    np.testing.assert_allclose(found.gram, weight @ weight.T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.norms, np.linalg.norm(weight, axis=1), rtol=1e-9)
    assert found.biases.tolist() == read_out.classifiers.bias.double().tolist()
    assert found.evaluation == read_out.evaluation
    assert found.tolerance_card[f"flow{space.suffix}"]["fp32"]["round_trip_error"] <= 1e-5
    picture = decode(found.golden.image_png, max_bytes=10**6, max_pixels=10**6)
    np.testing.assert_array_equal(picture, run.pictures[0])
    generated = decode(found.golden.generated_png, max_bytes=10**6, max_pixels=64 * 64)
    assert generated.shape == (64, 64, 3)


def test_service_opens_it_and_finds_the_golden_answer(repository: Path, run: Run) -> None:
    async def answer() -> None:
        runner = EmbeddedRunner.open(repository, 1)
        try:
            w = (await runner.run("encoder", image=run.pictures[:1]))["w"]
            for space, found in (await runner.manifests()).items():
                got = await runner.run(flow(space, 64).name, w=w)
                for name, wanted in vars(found.golden).items():
                    if name in got:
                        # The same file on the same engine: nothing but its threads may differ.
                        np.testing.assert_allclose(got[name][0], wanted, atol=1e-4)
            await check_golden(runner, await runner.manifests())
        finally:
            await runner.close()

    asyncio.run(answer())


def test_interrupted_export_leaves_the_old_repository(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "repository"
    (output / "flow").mkdir(parents=True)
    (output / "flow" / "config.pbtxt").write_text("old")

    def interrupt(line: str) -> None:
        assert line.startswith("encoder: ")
        assert len(list(tmp_path.iterdir())) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_repository(run, output, interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    assert (output / "flow" / "config.pbtxt").read_text() == "old"


def test_folder_of_other_things_is_never_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InvalidInput, match="output"):
        write_repository(run, tmp_path, print)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(
    run_folder: Path, repository: Path, tmp_path: Path
) -> None:
    code = """
import sys
from pathlib import Path
from wstar_export.assembly import assemble, space_ids
from wstar_export.onnx import export
from wstar_export.repository import metadata
from wstar_export.run import read_run
run = read_run(Path(sys.argv[1]))
for graph in assemble(run):
    if graph.spec.name in ("encoder", "flow_id_inverse"):
        path = Path(sys.argv[2], graph.spec.name)
        example = tuple(tensor[:2] for tensor in graph.inputs)
        export(graph.module, graph.spec, example, path, metadata(graph, space_ids(run)))
"""
    subprocess.run([sys.executable, "-c", code, run_folder, tmp_path], check=True)
    for path in tmp_path.iterdir():
        first = (repository / path.name / "1" / "model.onnx").read_bytes()
        assert path.read_bytes() == first, path.name


def test_read_outs_that_leave_the_basis_are_refused(run: Run) -> None:
    t = run.flows[Space.W_STAR]
    with pytest.raises(CheckpointError, match="outside the flow's basis"):
        on_coordinates(t, torch.ones(1, t.mean.numel(), dtype=torch.float64))


def test_weights_that_half_precision_holds_are_stored_as_such(tmp_path: Path) -> None:
    spec = GraphSpec(
        "linear",
        (TensorSpec("w", "float32", (64,)),),
        (TensorSpec("logits", "float32", (64,)),),
        max_batch=4,
    )
    for half in (True, False):
        module = torch.nn.Linear(64, 64, bias=False).requires_grad_(False)
        if half:
            module.half().float()
        path = tmp_path / f"{half}.onnx"
        export(module, spec, (torch.randn(2, 64),), path, {})
        (weight,) = onnx.load(path).graph.initializer
        assert weight.data_type == (TensorProto.FLOAT16 if half else TensorProto.FLOAT)
        x = torch.randn(3, 64)
        (found,) = ort.InferenceSession(path).run(None, {"w": x.numpy()})
        # The order of 64 float32 additions is all that differs.
        np.testing.assert_allclose(found, module(x).numpy(), rtol=1e-5, atol=1e-6)
