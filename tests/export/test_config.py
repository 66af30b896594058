"""`config.pbtxt`: Triton's own schema reads back what the contract says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from wstar.graphs import GraphSpec, Space, encoder, flow, graphs
from wstar.space import MANIFEST_PARAMETER, SpaceManifest
from wstar_export.config import (
    CPU_CONFIG,
    GPU_BACKENDS,
    GPU_CONFIG,
    GpuBackend,
    cpu_config,
    gpu_config,
)
from wstar_export.run import Run

SPECS = [*graphs(64, 64), *graphs(1024, 256)]
TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
KINDS = model_config_pb2.ModelInstanceGroup

Write = Callable[[GraphSpec, Mapping[str, str]], str]
VARIANTS: dict[str, Write] = {
    "cpu": cpu_config,
    **{backend: partial(gpu_config, backend=backend) for backend in GPU_BACKENDS},
}

every_spec = pytest.mark.parametrize(
    "spec", SPECS, ids=lambda spec: f"{spec.name}-{spec.inputs[0].shape[0]}"
)
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def parse(text: str) -> Any:  # noqa: ANN401
    """Read a configuration with Triton's own schema."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def has_pictures(spec: GraphSpec) -> bool:
    return spec.name in ("encoder", "generator")


@every_spec
@every_variant
def test_triton_reads_the_contract(spec: GraphSpec, variant: str) -> None:
    found = parse(VARIANTS[variant](spec, {}))
    assert (found.name, found.max_batch_size) == (spec.name, spec.max_batch)
    for tensors, wanted in ((found.input, spec.inputs), (found.output, spec.outputs)):
        assert [
            (tensor.name, model_config_pb2.DataType.Name(tensor.data_type), tuple(tensor.dims))
            for tensor in tensors
        ] == [(tensor.name, TYPES[tensor.dtype], tensor.shape) for tensor in wanted]


@every_spec
@every_variant
def test_every_field_is_one_that_this_test_knows(spec: GraphSpec, variant: str) -> None:
    found = parse(VARIANTS[variant](spec, {"key": "value"}))
    fields = {field.name for field, _ in found.ListFields()}
    wanted = {"name", "backend", "max_batch_size", "input", "output", "version_policy"}
    wanted |= {"instance_group", "dynamic_batching", "model_warmup", "parameters"}
    if variant == "onnxruntime" or (variant == "tensorrt" and not has_pictures(spec)):
        wanted.add("optimization")
    assert fields == wanted


@every_variant
def test_variants_name_their_backend_and_device(variant: str) -> None:
    for spec in SPECS:
        found = parse(VARIANTS[variant](spec, {}))
        (group,) = found.instance_group
        if variant == "cpu":
            assert (found.backend, group.kind, group.count) == ("wstar_onnx", KINDS.KIND_CPU, 1)
        else:
            count = 1 if has_pictures(spec) else 2
            assert (found.backend, group.kind, group.count) == (variant, KINDS.KIND_GPU, count)


@every_spec
@pytest.mark.parametrize("backend", GPU_BACKENDS)
def test_the_queue_is_bounded_and_a_caller_s_deadline_counts(
    spec: GraphSpec, backend: GpuBackend
) -> None:
    batching = parse(gpu_config(spec, {}, backend)).dynamic_batching
    policy = batching.default_queue_policy
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT
    assert policy.allow_timeout_override
    # Triton shortens a wait on request but never lengthens it: the default is the longest.
    assert policy.default_timeout_microseconds == 60_000_000
    assert policy.max_queue_size == 128
    assert batching.max_queue_delay_microseconds == 500
    preferred = [8] if backend == "tensorrt" and not has_pictures(spec) else []
    assert list(batching.preferred_batch_size) == preferred
    assert all(size <= spec.max_batch for size in preferred)


@every_spec
def test_a_cpu_batches_what_waits_and_nothing_more(spec: GraphSpec) -> None:
    found = parse(cpu_config(spec, {}))
    assert found.HasField("dynamic_batching")
    # With a policy or a preferred size a Triton on CPUs waits while it is idle.
    assert found.dynamic_batching == model_config_pb2.ModelDynamicBatching()


@every_spec
@every_variant
def test_warm_up_fits_the_inputs(spec: GraphSpec, variant: str) -> None:
    samples = parse(VARIANTS[variant](spec, {})).model_warmup
    batches = [1] if variant == "cpu" else [1, spec.max_batch]
    assert [sample.batch_size for sample in samples] == batches
    for sample in samples:
        assert set(sample.inputs) == {tensor.name for tensor in spec.inputs}
        for tensor in spec.inputs:
            given = sample.inputs[tensor.name]
            assert model_config_pb2.DataType.Name(given.data_type) == TYPES[tensor.dtype]
            assert tuple(given.dims) == tensor.shape
            # Random bytes as floats would hold NaN.
            assert given.random_data is (tensor.dtype == "uint8")
            assert given.zero_data is (tensor.dtype == "float32")


@every_spec
@every_variant
def test_a_new_version_takes_over_from_the_one_before(spec: GraphSpec, variant: str) -> None:
    policy = parse(VARIANTS[variant](spec, {})).version_policy
    assert policy.WhichOneof("policy_choice") == "latest"
    assert policy.latest.num_versions == 1


@every_spec
def test_onnx_runtime_multiplies_in_full_fp32(spec: GraphSpec) -> None:
    found = parse(gpu_config(spec, {}, "onnxruntime")).optimization
    (accelerator,) = found.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "cuda"
    assert dict(accelerator.parameters) == {"use_tf32": "0"}


@every_spec
def test_tensorrt_records_cuda_graphs_of_codes(spec: GraphSpec) -> None:
    cuda = parse(gpu_config(spec, {}, "tensorrt")).optimization.cuda
    if has_pictures(spec):
        assert not cuda.graphs
        return
    assert cuda.graphs
    one, eight = cuda.graph_spec
    assert (one.batch_size, eight.batch_size, eight.graph_lower_bound.batch_size) == (1, 8, 2)
    for shapes in (one.input, eight.input, eight.graph_lower_bound.input):
        assert {name: tuple(shape.dim) for name, shape in shapes.items()} == {
            tensor.name: tensor.shape for tensor in spec.inputs
        }


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
