"""`config.pbtxt`: Triton's own schema reads back what the contract says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from wstar.graphs import GraphSpec, Space, encoder, flow, graphs
from wstar.space import MANIFEST_PARAMETER, SpaceManifest
from wstar_export.config import CPU_CONFIG, GPU_CONFIG, cpu_config, gpu_config
from wstar_export.run import Run

SPECS = [*graphs(64, 64), *graphs(1024, 256)]
TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}

Write = Callable[[GraphSpec, Mapping[str, str]], str]


def parse(text: str) -> Any:  # noqa: ANN401
    """Read a configuration with Triton's own schema."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.inputs[0].shape[0]}")
@pytest.mark.parametrize("write", [gpu_config, cpu_config])
def test_triton_reads_the_contract(spec: GraphSpec, write: Write) -> None:
    found = parse(write(spec, {}))
    assert (found.name, found.max_batch_size) == (spec.name, spec.max_batch)
    for tensors, wanted in ((found.input, spec.inputs), (found.output, spec.outputs)):
        assert [
            (tensor.name, model_config_pb2.DataType.Name(tensor.data_type), tuple(tensor.dims))
            for tensor in tensors
        ] == [(tensor.name, TYPES[tensor.dtype], tensor.shape) for tensor in wanted]


def test_variants_name_their_backend_and_device() -> None:
    gpu, cpu = (parse(write(encoder(64, 64), {})) for write in (gpu_config, cpu_config))
    kinds = model_config_pb2.ModelInstanceGroup
    assert (gpu.backend, gpu.instance_group[0].kind) == ("onnxruntime", kinds.KIND_GPU)
    assert (cpu.backend, cpu.instance_group[0].kind) == ("wstar_onnx", kinds.KIND_CPU)


def test_gpu_multiplies_in_full_fp32() -> None:
    found = parse(gpu_config(flow(Space.W_STAR, 64), {}))
    (accelerator,) = found.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "cuda"
    assert dict(accelerator.parameters) == {"use_tf32": "0"}


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60))
def test_any_text_survives_as_a_parameter(text: str) -> None:
    found = parse(cpu_config(encoder(64, 64), {"key": text}))
    assert found.parameters["key"].string_value == text


@pytest.mark.parametrize("name", [GPU_CONFIG, CPU_CONFIG])
@pytest.mark.parametrize("space", list(Space))
def test_flow_configuration_carries_the_manifest(
    run: Run, repository: Path, space: Space, name: str
) -> None:
    graph = repository / flow(space, run.resolution).name
    found = parse((graph / name).read_text())
    text = found.parameters[MANIFEST_PARAMETER].string_value
    assert text + "\n" == (graph / "space.json").read_text()
    manifest = SpaceManifest.from_json(text, name)
    assert manifest.space is space
    assert manifest.labels == run.read_outs[space].labels
