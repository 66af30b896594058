"""Builds TensorRT engines for the GPU and the TensorRT of this machine, beside the ONNX files.

python3 -m deploy.engines.build ROOT: from ROOT/onnx to ROOT/engines/KEY, whole or not at all. A
graph of which TensorRT makes no plan that answers as ONNX Runtime does stays an ONNX file there.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from deploy.engines.key import engine_key, wait_for, whole

from wstar.checksums import write_checksums
from wstar.graphs import GraphSpec
from wstar.space import MANIFEST_PARAMETER
from wstar_export import engines
from wstar_export.config import GPU_CONFIG, gpu_config
from wstar_export.engine_files import contract
from wstar_export.repository import MANIFEST_FILE


def build(root: Path) -> Path:
    """Return the folder of the engines, which is there already when this is a second run."""
    source = root / "onnx"
    wait_for(source)
    target = root / "engines" / engine_key(source)
    if target.is_dir() and whole(target):
        return target
    # Beside the target, so that the last step is a rename; what a killed run left is of no use.
    work = target.with_name(f".{target.name}")
    for left in (work, target):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(source, work)
    settings = engines.Settings(timing_cache=root / "timing")
    without = engines.build_engines(engines.this_target(), work, settings, True, _tell)
    for spec in contract(work)[1]:
        if spec.name not in without:
            _use_plan(work, spec)
    write_checksums(work)
    os.rename(work, target)
    return target


def _use_plan(repository: Path, spec: GraphSpec) -> None:
    manifest = repository / spec.name / MANIFEST_FILE
    parameters = {}
    if manifest.is_file():
        parameters[MANIFEST_PARAMETER] = manifest.read_text(encoding="utf-8")
    text = gpu_config(spec, parameters, "tensorrt")
    (repository / spec.name / GPU_CONFIG).write_text(text, encoding="utf-8")


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    print(f"engines: {build(Path(sys.argv[1]))}")
