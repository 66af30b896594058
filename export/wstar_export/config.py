"""`config.pbtxt` of a graph, written from the contract.

Two variants per graph: for NVIDIA GPUs (Triton's ONNX Runtime or TensorRT backend), and for CPUs
(the `wstar_onnx` backend of this project), which a server chooses with `--model-config-name=cpu`.
Both take new versions of a graph under traffic: the newest folder is served, and the one before
answers until it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from wstar.graphs import GraphSpec, TensorSpec

CPU_CONFIG = "configs/cpu.pbtxt"
GPU_CONFIG = "config.pbtxt"

GpuBackend = Literal["onnxruntime", "tensorrt"]
GPU_BACKENDS: tuple[GpuBackend, ...] = get_args(GpuBackend)

_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
# A GPU fills a batch while it waits half a millisecond; a CPU gains nothing by waiting.
_GPU_DELAY_US = 500
_CPU_DELAY_US = 0
# A request may ask for less, never for more: this bounds those that name no deadline.
_QUEUE_TIMEOUT_US = 60_000_000
_QUEUE_SIZE = 128
# Batches whose kernels are recorded at load and started as one: T is hundreds of small ones.
_RECORDED = (1, 8)
# ONNX Runtime multiplies with 10 bits of mantissa by default; T needs all of fp32.
_FULL_FP32 = """optimization {
  execution_accelerators {
    gpu_execution_accelerator [
      { name: "cuda" parameters { key: "use_tf32" value: "0" } }
    ]
  }
}
"""


def gpu_config(
    spec: GraphSpec, parameters: Mapping[str, str], backend: GpuBackend = "onnxruntime"
) -> str:
    """The text of `config.pbtxt`: full fp32, batches of 1 and of the largest size run at load.

    backend: `onnxruntime` runs `model.onnx`; `tensorrt` runs `model.plan` beside it, which
    `wstar-export engines` builds.
    """
    recorded = backend == "tensorrt" and not _has_pictures(spec)
    return (
        _head(spec, backend)
        # Of two instances one computes while the other copies; pictures need the memory.
        + _instances("KIND_GPU", 1 if _has_pictures(spec) else 2)
        + _batching(_GPU_DELAY_US, preferred=_RECORDED[-1:] if recorded else ())
        + (_FULL_FP32 if backend == "onnxruntime" else "")
        + (_recordings(spec) if recorded else "")
        # A GPU too small for the largest batch is found out before the first request.
        + _warmup(spec, (1, spec.max_batch))
        + _parameters(parameters)
    )


def cpu_config(spec: GraphSpec, parameters: Mapping[str, str]) -> str:
    """The text of `configs/cpu.pbtxt`: one instance, which uses every CPU it may."""
    return (
        _head(spec, "wstar_onnx")
        + _instances("KIND_CPU", 1)
        # A policy of its queue, even of its length alone, makes an idle Triton 2.51 wait for up to
        # a second; the service bounds how much it asks for.
        + f"dynamic_batching {{ max_queue_delay_microseconds: {_CPU_DELAY_US} }}\n"
        + _warmup(spec, (1,))
        + _parameters(parameters)
    )


def _has_pictures(spec: GraphSpec) -> bool:
    return any(tensor.dtype == "uint8" for tensor in (*spec.inputs, *spec.outputs))


def _head(spec: GraphSpec, backend: str) -> str:
    return (
        f"name: {_quoted(spec.name)}\n"
        f"backend: {_quoted(backend)}\n"
        f"max_batch_size: {spec.max_batch}\n"
        f"{_tensors('input', spec.inputs)}{_tensors('output', spec.outputs)}"
        "version_policy { latest { num_versions: 1 } }\n"
    )


def _tensors(field: str, tensors: Sequence[TensorSpec]) -> str:
    """List tensors; the batch axis is Triton's own and not among the dims."""
    lines = [
        f"  {{ name: {_quoted(tensor.name)} data_type: {_TYPES[tensor.dtype]}"
        f" dims: {_list(tensor.shape)} }}"
        for tensor in tensors
    ]
    return f"{field} [\n" + ",\n".join(lines) + "\n]\n"


def _instances(kind: str, count: int) -> str:
    return f"instance_group [ {{ count: {count} kind: {kind} }} ]\n"


def _batching(delay_us: int, preferred: Sequence[int]) -> str:
    sizes = f"  preferred_batch_size: {_list(preferred)}\n" if preferred else ""
    return (
        f"dynamic_batching {{\n{sizes}"
        f"  max_queue_delay_microseconds: {delay_us}\n"
        "  default_queue_policy {\n"
        "    timeout_action: REJECT\n"
        f"    default_timeout_microseconds: {_QUEUE_TIMEOUT_US}\n"
        "    allow_timeout_override: true\n"
        f"    max_queue_size: {_QUEUE_SIZE}\n"
        "  }\n}\n"
    )


def _recordings(spec: GraphSpec) -> str:
    """CUDA graphs: the recording of 8 also serves 2 to 7, whose missing items are padding."""

    def inputs(indent: str) -> str:
        return "".join(
            f"{indent}input {{ key: {_quoted(t.name)} value {{ dim: {_list(t.shape)} }} }}\n"
            for t in spec.inputs
        )

    one, many = _RECORDED
    return (
        "optimization {\n  cuda {\n    graphs: true\n"
        f"    graph_spec {{\n      batch_size: {one}\n{inputs('      ')}    }}\n"
        f"    graph_spec {{\n      batch_size: {many}\n{inputs('      ')}"
        f"      graph_lower_bound {{\n        batch_size: {one + 1}\n{inputs('        ')}      }}\n"
        "    }\n  }\n}\n"
    )


def _warmup(spec: GraphSpec, batches: Sequence[int]) -> str:
    """Requests that a server answers to itself at load."""
    samples = []
    for batch in batches:
        inputs = "\n".join(
            f"    inputs {{ key: {_quoted(t.name)} value {{ data_type: {_TYPES[t.dtype]}"
            f" dims: {_list(t.shape)} {_content(t)}: true }} }}"
            for t in spec.inputs
        )
        samples.append(f'  {{\n    name: "batch of {batch}" batch_size: {batch}\n{inputs}\n  }}')
    return "model_warmup [\n" + ",\n".join(samples) + "\n]\n"


def _content(tensor: TensorSpec) -> str:
    # Random bytes are a picture; as floats they hold NaN and numbers no code comes near.
    return "random_data" if tensor.dtype == "uint8" else "zero_data"


def _parameters(parameters: Mapping[str, str]) -> str:
    return "".join(
        f"parameters {{\n  key: {_quoted(key)}\n  value {{ string_value: {_quoted(value)} }}\n}}\n"
        for key, value in sorted(parameters.items())
    )


def _list(numbers: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, numbers))} ]"


def _quoted(text: str) -> str:
    """A string of protobuf's text format, which ends at a bare quote or line break."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'
