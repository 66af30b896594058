"""The line of NVIDIA's `trtexec` that builds what `wstar-export engines` builds.

Only options that both TensorRT 10.16 and 11 accept. What `trtexec` cannot do: compare the result,
and write the sidecar without which `wstar-export engines --check` refuses a plan.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from wstar_export.profiles import Profile


def trtexec_line(
    onnx: Path, plan: Path, profile: Profile, workspace_mib: int, timing_cache: Path | None
) -> str:
    """One shell command."""

    def shapes(which: str) -> str:
        return ",".join(
            f"{name}:{'x'.join(map(str, getattr(shape, which)))}" for name, shape in profile.items()
        )

    options = {
        "onnx": onnx,
        "saveEngine": plan,
        "minShapes": shapes("min"),
        "optShapes": shapes("opt"),
        "maxShapes": shapes("max"),
        "memPoolSize": f"workspace:{workspace_mib}M",
        "profilingVerbosity": "detailed",
    }
    if timing_cache is not None:
        options["timingCacheFile"] = timing_cache
    words = [f"--{name}={value}" for name, value in options.items()]
    return shlex.join(["trtexec", *words, "--stronglyTyped", "--noTF32", "--skipInference"])
