"""Profiles, sidecars and commands of engines: what needs no TensorRT."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from wstar.errors import ContractMismatch, InvalidInput
from wstar.graphs import GraphSpec, graphs
from wstar_export import engines_command
from wstar_export.engine_files import plan_files
from wstar_export.profiles import batches, profile
from wstar_export.repository import model_path
from wstar_export.sidecar import (
    PLAN_FILE,
    Machine,
    Sidecar,
    check_sidecar,
    onnx_sha256,
    read_sidecar,
    recorded_profile,
)
from wstar_export.tools import ToolMissing
from wstar_export.trtexec import trtexec_line

SPECS = [*graphs(64, 64), *graphs(1024, 256)]
# The options of both 10.16 and 11 that lines may use; their option parsers were run on such lines.
BOTH = {
    *("--onnx", "--saveEngine", "--skipInference", "--stronglyTyped", "--noTF32"),
    *("--minShapes", "--optShapes", "--maxShapes", "--memPoolSize", "--timingCacheFile"),
    "--profilingVerbosity",
}
HERE = Machine("tensorrt", "11.4.0.106", "NVIDIA H200", "9.0")
specs = pytest.mark.parametrize(
    "spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.inputs[0].shape[0]}"
)


@specs
def test_profile_is_the_contracts(spec: GraphSpec) -> None:
    least, usual, most = batches(spec)
    assert (least, most) == (1, spec.max_batch)
    assert usual == {"encoder": 4, "generator": 1}.get(spec.name, 8)
    made = profile(spec)
    assert list(made) == [tensor.name for tensor in spec.inputs]
    for tensor in spec.inputs:
        shapes = made[tensor.name]
        assert (shapes.min, shapes.opt, shapes.max) == tuple(
            (size, *tensor.shape) for size in (least, usual, most)
        )


@given(st.sampled_from(SPECS), st.tuples(*[st.integers(-1, 80)] * 3))
def test_no_profile_falls_or_leaves_the_contract(
    spec: GraphSpec, sizes: tuple[int, int, int]
) -> None:
    least, usual, most = sizes
    if 1 <= least <= usual <= most <= spec.max_batch:
        assert {shape.max[0] for shape in profile(spec, sizes).values()} == {most}
    else:
        with pytest.raises(InvalidInput, match=rf"{spec.name}: batch sizes: found \(.*min <= opt"):
            profile(spec, sizes)


@specs
def test_trtexec_line_says_the_same_to_both_versions(spec: GraphSpec, tmp_path: Path) -> None:
    odd = tmp_path / "a folder; with 'marks'" / "model.onnx"
    words = shlex.split(trtexec_line(odd, odd.with_name(PLAN_FILE), profile(spec), 100, odd))
    assert words[0] == "trtexec"
    options = dict(word.partition("=")[::2] for word in words[1:])
    assert options.keys() == BOTH
    assert options["--onnx"] == str(odd)
    assert options["--memPoolSize"] == "workspace:100M"
    for option, size in zip(
        ("--minShapes", "--optShapes", "--maxShapes"), batches(spec), strict=True
    ):
        assert options[option].split(",") == [
            f"{tensor.name}:{'x'.join(map(str, (size, *tensor.shape)))}" for tensor in spec.inputs
        ]


@pytest.fixture
def plan(tmp_path: Path) -> tuple[Path, GraphSpec, Sidecar]:
    """A graph with a plan, both of any bytes, and its sidecar."""
    spec = SPECS[1]
    model = model_path(tmp_path, spec)
    model.parent.mkdir(parents=True)
    onnx.save(weighty(1.0), model)
    plan_path, sidecar_path = plan_files(tmp_path, spec)
    plan_path.write_bytes(b"")
    sidecar = Sidecar(
        graph=spec.name,
        machine=HERE,
        onnx_sha256=onnx_sha256(model),
        # SHA-256 of nothing.
        plan_sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        precision="fp32",
        profile=recorded_profile(profile(spec)),
        flags={"tf32": False},
        parity={"w_star_error": 1e-6},
    )
    sidecar_path.write_text(sidecar.to_json())
    return model, spec, sidecar


def weighty(value: float) -> onnx.ModelProto:
    """A graph with one weight of 100 numbers."""
    make = onnx.helper
    weight = numpy_helper.from_array(np.full(100, value, np.float32), "weight")
    values = [make.make_tensor_value_info(n, TensorProto.FLOAT, [100]) for n in ("x", "y")]
    node = make.make_node("Add", ["x", "weight"], ["y"])
    return make.make_model(make.make_graph([node], "g", values[:1], values[1:], [weight]))


def test_sidecar_survives_the_file(plan: tuple[Path, GraphSpec, Sidecar]) -> None:
    model, spec, sidecar = plan
    assert read_sidecar(plan_files(model.parents[2], spec)[1], spec.name) == sidecar
    check_sidecar(sidecar, HERE, model, profile(spec))


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"library": "tensorrt_rtx_bindings"}, "library that built the plan: expected"),
        ({"version": "10.16.1.11"}, "version of TensorRT that built the plan: expected '10.16"),
        ({"gpu": "NVIDIA L4"}, "GPU the plan was built for: expected 'NVIDIA L4', found"),
        ({"compute_capability": "8.9"}, "compute capability: expected '8.9', found '9.0'"),
    ],
)
def test_every_difference_of_machines_is_a_sentence(
    plan: tuple[Path, GraphSpec, Sidecar], changed: dict[str, str], sentence: str
) -> None:
    model, spec, sidecar = plan
    with pytest.raises(ContractMismatch, match=f"graph '{spec.name}', {sentence}"):
        check_sidecar(sidecar, replace(HERE, **changed), model, profile(spec))


def test_every_other_difference_is_found(plan: tuple[Path, GraphSpec, Sidecar]) -> None:
    model, spec, sidecar = plan
    with pytest.raises(ContractMismatch, match="graph of the sidecar"):
        check_sidecar(replace(sidecar, graph="flow_id"), HERE, model, profile(spec))
    with pytest.raises(ContractMismatch, match="batches of the plan"):
        check_sidecar(sidecar, HERE, model, profile(spec, (1, 1, 2)))
    model.with_name(PLAN_FILE).write_bytes(b"x")
    with pytest.raises(ContractMismatch, match=r"model\.plan of the sidecar: SHA-256"):
        check_sidecar(sidecar, HERE, model, profile(spec))
    onnx.save(weighty(2.0), model)
    with pytest.raises(ContractMismatch, match=r"model\.onnx of the sidecar: SHA-256"):
        check_sidecar(sidecar, HERE, model, profile(spec))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"machine": 3}', '{"machine": {"gpu": "x"}}'])
def test_broken_sidecar_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.plan.json"
    path.write_text(text)
    with pytest.raises(ContractMismatch, match=r"'flow', model\.plan\.json: expected 'the sidecar"):
        read_sidecar(path, "flow")


def test_hash_covers_weights_beside_the_graph(tmp_path: Path) -> None:
    hashes, graphs_alone = set(), set()
    for value in (1.0, 2.0):
        path = tmp_path / "model.onnx"
        onnx.save(weighty(value), path, save_as_external_data=True, location="w", size_threshold=0)
        hashes.add(onnx_sha256(path))
        graphs_alone.add(path.read_bytes())
        # Saving appends to a file that is there.
        (tmp_path / "w").unlink()
    assert (len(hashes), len(graphs_alone)) == (2, 1)


def command(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    engines_command.add_arguments(parser)
    return parser.parse_args(words)


def test_command_prints_a_line_per_graph(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = command("--repository", str(repository), "--trtexec", "--workspace-mib", "7")
    assert engines_command.run(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(graphs(64, 64))
    assert all(line.startswith("trtexec ") and "workspace:7M" in line for line in lines)


@pytest.mark.parametrize("words", [(), ("--check",), ("--replace",)])
def test_without_tensorrt_it_says_what_to_install_and_writes_nothing(
    repository: Path, words: tuple[str, ...]
) -> None:
    if importlib.util.find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    with pytest.raises(ToolMissing, match="tensorrt is not installed.*pip install tensorrt-cu13"):
        engines_command.run(command("--repository", str(repository), *words))
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before


def test_workspace_holds_something(repository: Path) -> None:
    with pytest.raises(InvalidInput, match="workspace_mib: found 0, allowed: 1 or more"):
        engines_command.run(command("--repository", str(repository), "--workspace-mib", "0"))


def test_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractMismatch, match=r"'flow', space\.json: expected 'a readable file'"):
        engines_command.run(command("--repository", str(tmp_path), "--trtexec"))


def test_sidecar_is_json_that_others_read(plan: tuple[Path, GraphSpec, Sidecar]) -> None:
    content = json.loads(plan[2].to_json())
    assert content["machine"]["gpu"] == "NVIDIA H200"
    assert content["profile"]["w"] == {
        "min": [1, 10, 512],
        "opt": [8, 10, 512],
        "max": [64, 10, 512],
    }
