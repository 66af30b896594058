"""What the capacity calculator reckons with: each figure, its unit, and whether it was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

# measured: run and timed; contract: fixed by code or manifests; assumed: nobody here measured it.
Basis = Literal["measured", "contract", "assumed"]


class Figure(NamedTuple):
    """One number, what it counts, and where it comes from."""

    value: float
    unit: str
    basis: Basis
    source: str


# CPU time to decode a JPEG and bring it to 256 px, by its side in pixels.
DECODE_MS: Mapping[int, float] = {256: 0.85, 512: 5.8, 1024: 19.0}

FIGURES: Mapping[str, Figure] = {
    "call": Figure(
        2.4,
        "ms of a core per request",
        "measured",
        "service/README.md, overhead of a call with 1 picture, the client's half included",
    ),
    "further_face": Figure(
        0.1,
        "ms of a core per further face of a request",
        "measured",
        "service/README.md, overhead with 8 pictures less that with 1, over 7",
    ),
    "decode_256": Figure(
        DECODE_MS[256], "ms of a core per face", "measured", "tests/bench/decoding.py"
    ),
    "decode_512": Figure(
        DECODE_MS[512], "ms of a core per face", "measured", "tests/bench/decoding.py"
    ),
    "decode_1024": Figure(
        DECODE_MS[1024], "ms of a core per face", "measured", "tests/bench/decoding.py"
    ),
    "hop_picture": Figure(
        1.85,
        "ms of a core per face",
        "measured",
        "service/README.md, one picture of 256 px to Triton: 1079/s of two cores, both ends",
    ),
    "hop_code": Figure(
        2.0,
        "ms of a core per face",
        "measured",
        "service/README.md, flow of 1 code in Triton: 997/s of two cores, both ends",
    ),
    "embedded_faces": Figure(
        0.6,
        "faces/s of a core without GPU",
        "measured",
        "service/README.md, encoder and flow of full size: 1.2 faces/s of two cores",
    ),
    "embedded_memory": Figure(
        2790.0,
        "MiB per process without GPU",
        "measured",
        "training/README.md, serving and editing at full size",
    ),
    "service_memory": Figure(
        121.0, "MiB per process beside Triton", "measured", "service/README.md, soak"
    ),
    "engines": Figure(
        1460.0,
        "MB of GPU memory",
        "measured",
        "export/README.md, plans of two spaces at full size, fp32, TensorRT for RTX",
    ),
    "code_bytes": Figure(36_864.0, "bytes per code", "contract", "18 x 512 float32"),
    "encoder_bytes": Figure(
        196_608.0, "bytes per picture to Triton", "contract", "256 x 256 x 3 uint8"
    ),
    "max_concurrency": Figure(
        16.0, "calls at once per process", "contract", "wstar_service/settings.py"
    ),
    "bytes_per_pixel": Figure(
        0.25, "bytes per pixel of a JPEG", "assumed", "quality 90; 0.22 to 0.26 on drawn faces"
    ),
    "gpu_faces": Figure(
        200.0,
        "faces/s per GPU",
        "assumed",
        "145 GFLOP per face (export/README.md: 402 ms at 87 % of 413 GFLOP/s), fp16, "
        "25 % of a card of 120 TFLOP/s; never run",
    ),
    "activations": Figure(
        4000.0, "MB of GPU memory", "assumed", "activations, CUDA context; never run"
    ),
    "triton_memory": Figure(
        16.0, "GiB of host memory per GPU", "contract", "deploy/kubernetes/components/triton"
    ),
    "triton_cores": Figure(
        4.0, "cores of the host per GPU", "contract", "deploy/kubernetes/components/triton"
    ),
    "load": Figure(0.6, "of cores and GPUs", "assumed", "share planned for; the rest is for peaks"),
    "network_load": Figure(0.7, "of a network card", "assumed", "share planned for"),
    "replica_cores": Figure(
        2.0,
        "cores per replica",
        "contract",
        "deploy/kubernetes/base/deployment.yaml; one process, whose threads decode",
    ),
    "replica_memory": Figure(
        1.0, "GiB requested per replica", "contract", "deploy/kubernetes/base/deployment.yaml"
    ),
    "replicas_per_gpu": Figure(
        2.0, "replicas", "contract", "deploy/kubernetes/overlays/gpu-scaled/autoscalers.yaml"
    ),
    "spares": Figure(1.0, "replicas and GPUs", "assumed", "beside those needed: one may be away"),
}


def value_of(name: str) -> float:
    """Return the number of a figure."""
    return FIGURES[name].value
