"""The whole path of `wstar-export engines`, on a stand-in that raises beyond what is recorded.

For every version whose bindings were recorded. Engines of the stand-in answer by ONNX Runtime on
the CPU, so that comparison, files and refusals are the real ones.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto
from tests.export.tensorrt_stand_in import REFUSED, VERSIONS, StandIn, used_of

from wstar.checksums import check_checksums
from wstar.errors import ContractMismatch, InvalidInput, RunnerUnavailable
from wstar.graphs import graphs
from wstar_export.engine_files import check_engines, plan_files
from wstar_export.engines import Settings, Target, build_engines
from wstar_export.plans import build_plan
from wstar_export.profiles import Shapes, profile
from wstar_export.repository import model_path
from wstar_export.sidecar import Machine, read_sidecar

SPECS = graphs(64, 64)
NAMES = [spec.name for spec in SPECS]
# The cheapest graph, for tests of one.
ONE = SPECS[3]


def target(version: str) -> Target:
    machine = Machine("tensorrt", version, "NVIDIA Made-Up 1 (8 GB)", "9.0")
    return Target(StandIn(version), machine, torch.device("cpu"))


@pytest.fixture(params=VERSIONS)
def here(request: pytest.FixtureRequest) -> Target:
    return target(request.param)


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A repository to build into."""
    return Path(shutil.copytree(repository, tmp_path / "repository"))


@pytest.fixture(scope="session")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with plans of the first version; read only."""
    folder = tmp_path_factory.mktemp("engines") / "repository"
    shutil.copytree(repository, folder)
    assert build_engines(target(VERSIONS[0]), folder, Settings(), False, print) == []
    return folder


def with_plans(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "built"))


def has_plan(repository: Path, name: str) -> list[bool]:
    (spec,) = (spec for spec in SPECS if spec.name == name)
    return [path.exists() for path in plan_files(repository, spec)]


def test_every_graph_gets_a_plan_that_answers_and_a_sidecar(
    here: Target, copy: Path, tmp_path: Path
) -> None:
    trt = here.trt
    assert isinstance(trt, StandIn)
    lines: list[str] = []
    settings = Settings(workspace_mib=100, timing_cache=tmp_path / "caches")
    assert build_engines(here, copy, settings, False, lines.append) == []
    check_checksums(copy)
    assert list(check_engines(here.machine, copy)) == []
    for spec in SPECS:
        sidecar = read_sidecar(plan_files(copy, spec)[1], spec.name)
        assert sidecar.machine == here.machine
        assert sidecar.precision == "fp32"
        assert sidecar.flags["tf32"] is False
        # The same engine on both sides, in batches of other sizes: a part in a million.
        assert all(value <= 1e-5 for name, value in sidecar.parity.items() if "error" in name)
        assert any(line.startswith("trtexec ") and f"/{spec.name}/" in line for line in lines)
    (cache,) = (tmp_path / "caches").iterdir()
    assert cache.name == f"NVIDIA_Made-Up_1_8_GB_-sm9.0-tensorrt-{here.machine.version}.timing"
    assert cache.read_bytes() == b"measured " * len(SPECS)

    assert trt.last_build is not None
    network, config = trt.last_build
    assert network.flags == 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert config.cleared == {trt.BuilderFlag.TF32}
    assert config.pools == {trt.MemoryPoolType.WORKSPACE: 100 * 2**20}
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED

    again: list[str] = []
    assert build_engines(here, copy, settings, False, again.append) == []
    assert again == [f"{name}: its plan is up to date" for name in NAMES]


def test_the_record_holds_what_is_used_and_nothing_else(here: Target, tmp_path: Path) -> None:
    trt = here.trt
    assert isinstance(trt, StandIn)
    repository = refused(tmp_path)
    with pytest.raises(ContractMismatch):
        build_plan(trt, repository, {}, 1, None, print)
    plain = plain_graph(tmp_path)
    build_plan(trt, plain, {"x": Shapes((1, 2), (1, 2), (2, 2))}, 1, b"", print)
    engine = trt.Runtime(trt.ILogger()).deserialize_cuda_engine(str(plain).encode())
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    context = engine.create_execution_context()
    x, y = torch.ones(1, 2), torch.zeros(1, 2)
    assert context.set_input_shape("x", (1, 2))
    pointers = {"x": x.data_ptr(), "y": y.data_ptr()}
    assert context.execute_v2([pointers[name] for name in names])
    assert y.tolist() == [[1.0, 1.0]]
    assert trt.used == used_of(here.machine.version)


def plain_graph(folder: Path, *kinds: str) -> Path:
    """X to y through nodes of the given kinds, after which nothing changes."""
    make = onnx.helper
    shape = [make.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in ("x", "y")]
    steps = [f"t{index}" for index in range(len(kinds))]
    nodes = [
        make.make_node(kind, [before], [after], name=f"the_{after}")
        for kind, before, after in zip(kinds, ["x", *steps], steps, strict=False)
    ]
    nodes.append(make.make_node("Identity", [["x", *steps][-1]], ["y"]))
    graph = make.make_graph(nodes, "plain", shape[:1], shape[1:])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10)
    path = folder / f"plain{len(kinds)}" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    onnx.save(model, path)
    return path


def refused(folder: Path) -> Path:
    return plain_graph(folder, REFUSED, "Relu", REFUSED)


def test_every_error_of_the_parser_is_told_with_its_node(here: Target, tmp_path: Path) -> None:
    lines: list[str] = []
    with pytest.raises(ContractMismatch, match=r"node 0 'the_t0' \(Det\)"):
        build_plan(here.trt, refused(tmp_path), {}, 1, None, lines.append)
    assert lines == [
        "plain3: node 0 'the_t0' (Det): unsupported",
        "plain3: node 2 'the_t2' (Det): unsupported",
    ]


def test_missing_and_falling_profiles_are_refused(here: Target, tmp_path: Path) -> None:
    path = plain_graph(tmp_path)
    with pytest.raises(ContractMismatch, match="no optimization profile has been defined"):
        build_plan(here.trt, path, {}, 1, None, print)
    with pytest.raises(ContractMismatch, match="'plain0', profile"):
        build_plan(here.trt, path, {"x": Shapes((2, 2), (1, 2), (1, 2))}, 1, None, print)


def test_timing_cache_of_another_machine_is_left(here: Target, tmp_path: Path) -> None:
    lines: list[str] = []
    shapes = {"x": Shapes((1, 2), (1, 2), (2, 2))}
    made = build_plan(here.trt, plain_graph(tmp_path), shapes, 1, b"other", lines.append)
    assert made.timing_cache == b"measured "
    assert lines == ["plain0: the timing cache is of another machine; starting a new one"]


def test_engine_that_answers_otherwise_is_not_written(here: Target, copy: Path) -> None:
    assert isinstance(here.trt, StandIn)
    here.trt.off = 3.0
    lines: list[str] = []
    assert build_engines(here, copy, Settings(), False, lines.append) == NAMES
    assert not any(any(has_plan(copy, name)) for name in NAMES)
    assert all(model_path(copy, spec).exists() for spec in SPECS)
    check_checksums(copy)
    wrong = [line for line in lines if line.endswith("no plan: its ONNX file can be served")]
    assert [line.split("'")[1] for line in wrong] == NAMES
    assert "expected 'at most 0.0001', found" in wrong[1]


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("gpu", "NVIDIA Other", "GPU the plan was built for: expected 'NVIDIA Other', found"),
        ("version", "10.16.2", "version of TensorRT that built the plan: expected '10.16.2'"),
        ("compute_capability", "8.9", "compute capability: expected '8.9', found '9.0'"),
    ],
)
def test_plan_of_another_machine_is_refused_until_replaced(
    built: Path, tmp_path: Path, field: str, value: str, sentence: str
) -> None:
    repository, there = with_plans(built, tmp_path), target(VERSIONS[0])
    there = replace(there, machine=replace(there.machine, **{field: value}))
    errors = list(check_engines(there.machine, repository))
    assert [error.graph for error in errors] == NAMES
    assert sentence in str(errors[0])
    before = plan_files(repository, ONE)[1].read_bytes()
    with pytest.raises(ContractMismatch, match=sentence[:20]):
        build_engines(there, repository, Settings(), False, print)
    assert plan_files(repository, ONE)[1].read_bytes() == before
    assert build_engines(there, repository, Settings(), True, print) == []
    assert list(check_engines(there.machine, repository)) == []


def test_interrupted_build_is_found_and_finished(built: Path, tmp_path: Path) -> None:
    repository, there = with_plans(built, tmp_path), target(VERSIONS[0])
    plan_files(repository, ONE)[1].unlink()
    with pytest.raises(ContractMismatch, match=f"'{ONE.name}', model.plan.json: expected"):
        build_engines(there, repository, Settings(), False, print)
    assert build_engines(there, repository, Settings(), True, print) == []
    assert list(check_engines(there.machine, repository)) == []


def test_changed_plan_is_found(built: Path, tmp_path: Path) -> None:
    repository, there = with_plans(built, tmp_path), target(VERSIONS[0])
    plan_files(repository, ONE)[0].write_bytes(b"another plan")
    with pytest.raises(ContractMismatch, match="SHA-256"):
        list(check_engines(there.machine, repository))
    with pytest.raises(ContractMismatch, match="model.plan of the sidecar: SHA-256"):
        build_engines(there, repository, Settings(), False, print)


def test_broken_repository_is_not_built_from(here: Target, copy: Path) -> None:
    with model_path(copy, ONE).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ContractMismatch, match=f"'{ONE.name}', 1/model.onnx: expected 'SHA-256"):
        build_engines(here, copy, Settings(), False, print)
    assert not any(any(has_plan(copy, name)) for name in NAMES)


def test_machine_without_a_driver_is_told_apart(here: Target, copy: Path) -> None:
    assert isinstance(here.trt, StandIn)
    here.trt.dead = True
    with pytest.raises(RunnerUnavailable, match="TensorRT does not start"):
        build_engines(here, copy, Settings(), False, print)


def test_other_products_build_no_engines(here: Target, copy: Path) -> None:
    other = replace(here, machine=replace(here.machine, library="tensorrt_rtx_bindings"))
    with pytest.raises(InvalidInput, match="allowed: tensorrt"):
        build_engines(other, copy, Settings(), False, print)


def test_the_stand_in_is_strict(here: Target) -> None:
    trt = here.trt
    builder = trt.Builder(trt.ILogger())
    for wrong in (
        lambda: trt.BuilderFlag.FP16,
        lambda: trt.IInt8Calibrator,
        lambda: builder.max_batch_size,
        lambda: builder.create_network(1, 2),
        lambda: builder.create_network(explicit_batch=1),
        lambda: builder.create_builder_config().clear_flag("TF32"),
        lambda: setattr(builder.create_builder_config(), "max_workspace_size", 1),
    ):
        with pytest.raises((AttributeError, TypeError)):
            wrong()


def test_profiles_reach_the_builder(here: Target, copy: Path) -> None:
    assert isinstance(here.trt, StandIn)
    build_plan(here.trt, model_path(copy, ONE), profile(ONE), 1, None, print)
    assert here.trt.last_build is not None
    (shapes,) = here.trt.last_build[1].profiles
    assert shapes == {
        name: (shape.min, shape.opt, shape.max) for name, shape in profile(ONE).items()
    }
