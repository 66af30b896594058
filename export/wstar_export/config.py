"""`config.pbtxt` of a graph, written from the contract.

Two variants per graph: for NVIDIA GPUs (Triton's ONNX Runtime backend), and for CPUs (the
`wstar_onnx` backend of this project), which a server chooses with `--model-config-name=cpu`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wstar.graphs import GraphSpec, TensorSpec

CPU_CONFIG = "configs/cpu.pbtxt"
GPU_CONFIG = "config.pbtxt"

_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
# A GPU fills a batch while it waits half a millisecond; a CPU gains nothing by waiting.
_GPU_DELAY_US = 500
_CPU_DELAY_US = 0
# ONNX Runtime multiplies with 10 bits of mantissa by default; T needs all of fp32.
_FULL_FP32 = """optimization {
  execution_accelerators {
    gpu_execution_accelerator [
      { name: "cuda" parameters { key: "use_tf32" value: "0" } }
    ]
  }
}
"""


def gpu_config(spec: GraphSpec, parameters: Mapping[str, str]) -> str:
    """The text of `config.pbtxt`: one GPU instance, full fp32."""
    return (
        _head(spec, "onnxruntime")
        + _scheduling("KIND_GPU", _GPU_DELAY_US)
        + _FULL_FP32
        + _parameters(parameters)
    )


def cpu_config(spec: GraphSpec, parameters: Mapping[str, str]) -> str:
    """The text of `configs/cpu.pbtxt`: one CPU instance."""
    return (
        _head(spec, "wstar_onnx") + _scheduling("KIND_CPU", _CPU_DELAY_US) + _parameters(parameters)
    )


def _head(spec: GraphSpec, backend: str) -> str:
    return (
        f"name: {_quoted(spec.name)}\n"
        f"backend: {_quoted(backend)}\n"
        f"max_batch_size: {spec.max_batch}\n"
        f"{_tensors('input', spec.inputs)}{_tensors('output', spec.outputs)}"
    )


def _tensors(field: str, tensors: Sequence[TensorSpec]) -> str:
    """List tensors; the batch axis is Triton's own and not among the dims."""
    lines = [
        f"  {{ name: {_quoted(tensor.name)} data_type: {_TYPES[tensor.dtype]}"
        f" dims: [ {', '.join(map(str, tensor.shape))} ] }}"
        for tensor in tensors
    ]
    return f"{field} [\n" + ",\n".join(lines) + "\n]\n"


def _scheduling(kind: str, delay_us: int) -> str:
    return (
        f"instance_group [ {{ count: 1 kind: {kind} }} ]\n"
        f"dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}\n"
    )


def _parameters(parameters: Mapping[str, str]) -> str:
    return "".join(
        f"parameters {{\n  key: {_quoted(key)}\n  value {{ string_value: {_quoted(value)} }}\n}}\n"
        for key, value in sorted(parameters.items())
    )


def _quoted(text: str) -> str:
    """A string of protobuf's text format, which ends at a bare quote or line break."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'
