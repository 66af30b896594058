"""Record what TensorRT's Python bindings offer of the names that `wstar_export` uses.

    pip download --no-deps tensorrt-cu13-bindings==10.16.1.11 tensorrt-cu13-bindings==11.4.0.106
    python tests/export/record_tensorrt_surface.py *.whl > tests/export/tensorrt_surface.json

The wheels hold the compiled bindings and not the library beneath them, which is beyond a gigabyte.
Nine functions of three shared objects are all they import of it: tiny ones with functions that do
nothing, made here with `cc`, let the bindings be imported and looked at, though nothing built.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

HOW = (
    "docstrings and members of NVIDIA's compiled bindings (PyPI: tensorrt-cu13-bindings), imported "
    "over shared objects that do nothing, by tests/export/record_tensorrt_surface.py"
)
BINDINGS = "tensorrt_bindings"
LIBRARIES = {
    "nvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "nvinfer_plugin": ("initLibNvInferPlugins",),
    "nvonnxparser": (
        "createNvOnnxParser_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}
# Class, then what of it is used.
USED = {
    "Builder": (
        "__init__",
        "build_serialized_network",
        "create_builder_config",
        "create_network",
        "create_optimization_profile",
    ),
    "BuilderFlag": ("TF32",),
    "IBuilderConfig": (
        "add_optimization_profile",
        "clear_flag",
        "create_timing_cache",
        "get_timing_cache",
        "profiling_verbosity",
        "set_memory_pool_limit",
        "set_timing_cache",
    ),
    "ICudaEngine": ("create_execution_context", "get_tensor_name", "num_io_tensors"),
    "IExecutionContext": ("execute_v2", "set_input_shape"),
    "IHostMemory": (),
    "ILogger": ("ERROR", "INTERNAL_ERROR", "__init__", "log"),
    "INetworkDefinition": ("num_layers",),
    "IOptimizationProfile": ("set_shape",),
    "ITimingCache": ("serialize",),
    "MemoryPoolType": ("WORKSPACE",),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "OnnxParser": ("__init__", "get_error", "num_errors", "parse_from_file"),
    "ParserError": ("desc", "node", "node_name", "node_operator"),
    "ProfilingVerbosity": ("DETAILED",),
    "Runtime": ("__init__", "deserialize_cuda_engine"),
}


def surface(bindings: Any) -> dict[str, dict[str, object]]:  # noqa: ANN401
    """Signatures of methods, "property" or "settable property", numbers of enum members."""
    return {
        name: {member: _described(getattr(bindings, name), member) for member in members}
        for name, members in USED.items()
        if hasattr(bindings, name)
    }


def _described(owner: type, member: str) -> object:
    value = getattr(owner, member, None)
    if isinstance(value, property):
        return "settable property" if value.fset else "property"
    if callable(value):
        return _signatures(member, value.__doc__ or "")
    return None if value is None else int(value)


def _signatures(member: str, text: str) -> list[str]:
    """Every overload that a docstring of pybind11 lists, without the names of modules."""
    found = re.findall(rf"^(?:\d+\. )?({re.escape(member)}\(self: .*)$", text, re.MULTILINE)
    return [re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", line) for line in found]


def _record(wheel: Path) -> dict[str, object]:
    """Look at one wheel in a process of its own: two versions do not fit into one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        (version,) = re.findall(r"-(\d+)\.[\d.]+-cp", wheel.name)
        for library, functions in LIBRARIES.items():
            source = folder / f"{library}.c"
            source.write_text(
                "".join(f"void *{name}(void) {{ return 0; }}\n" for name in functions)
            )
            target = folder / BINDINGS / f"lib{library}.so.{version}"
            subprocess.run(["cc", "-shared", "-fPIC", "-o", target, source], check=True)
        paths = {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(folder / BINDINGS)}
        done = subprocess.run(
            [sys.executable, __file__], env=os.environ | paths, check=True, capture_output=True
        )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    """Without arguments: print the surface of the bindings that can be imported."""
    if len(sys.argv) == 1:
        bindings = importlib.import_module(BINDINGS)
        print(json.dumps({bindings.__version__: surface(bindings)}))
        return
    versions: dict[str, object] = {}
    for wheel in sys.argv[1:]:
        versions |= _record(Path(wheel))
    record = {"how": HOW, "date": str(datetime.date.today()), "versions": versions}
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
