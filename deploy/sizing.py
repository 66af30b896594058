"""How replicas, GPUs, network and memory follow from a load and the figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

from deploy.figures import DECODE_MS, value_of


@dataclass(frozen=True)
class Load:
    """What is asked of the deployment, and with what.

    requests_per_s: requests, each of faces_per_request pictures of picture_px squared.
    picture_bytes: encoded size of one; gpu_faces_per_s: of one GPU; network_gbit: of one node.
    """

    requests_per_s: float
    faces_per_request: int
    picture_px: int
    picture_bytes: float
    gpu_faces_per_s: float
    network_gbit: float

    @property
    def faces_per_s(self) -> float:
        """Pictures embedded in a second."""
        return self.requests_per_s * self.faces_per_request


@dataclass(frozen=True)
class Plan:
    """What that takes: with GPUs, and what the CPUs alone would."""

    service_cores: float
    service_replicas: int
    service_memory_gib: float
    gpus: int
    gpu_memory_gb_each: float
    triton_memory_gib: float
    requested_cores: float
    requested_memory_gib: float
    pictures_in_gbit: float
    codes_out_gbit: float
    to_triton_gbit: float
    from_triton_gbit: float
    nodes_by_network: int
    cpu_only_cores: float
    cpu_only_replicas: int
    cpu_only_memory_gib: float


def plan(load: Load) -> Plan:
    """Reckon what a load takes; counts hold the spares, cores are those at work."""
    faces = load.faces_per_s
    cores = load.requests_per_s * _call_ms(load) / 1000
    pictures, codes = _gbit(faces, load.picture_bytes), _gbit(faces, value_of("code_bytes"))
    # The encoder takes a picture, the flow takes the code that comes back.
    to_triton = _gbit(faces, value_of("encoder_bytes")) + codes
    from_triton = 2 * codes
    busiest = max(pictures + from_triton, codes + to_triton)
    nodes = math.ceil(busiest / (load.network_gbit * value_of("network_load")))
    gpus = _count(faces, load.gpu_faces_per_s)
    replicas = max(
        _count(cores, value_of("replica_cores")),
        nodes + int(value_of("spares")),
        # Each has one connection to one Triton: fewer would leave some idle.
        int(value_of("replicas_per_gpu")) * gpus,
    )
    embedded_cores = faces / value_of("embedded_faces")
    embedded = _count(embedded_cores, value_of("replica_cores"))
    return Plan(
        service_cores=cores,
        service_replicas=replicas,
        service_memory_gib=replicas * _process_mib(load) / 1024,
        gpus=gpus,
        gpu_memory_gb_each=(value_of("engines") + value_of("activations")) / 1000,
        triton_memory_gib=gpus * value_of("triton_memory"),
        requested_cores=replicas * value_of("replica_cores") + gpus * value_of("triton_cores"),
        requested_memory_gib=replicas * value_of("replica_memory")
        + gpus * value_of("triton_memory"),
        pictures_in_gbit=pictures,
        codes_out_gbit=codes,
        to_triton_gbit=to_triton,
        from_triton_gbit=from_triton,
        nodes_by_network=nodes,
        cpu_only_cores=embedded_cores,
        cpu_only_replicas=embedded,
        cpu_only_memory_gib=embedded * value_of("embedded_memory") / 1024,
    )


def load_of(
    requests_per_s: float,
    picture_px: int,
    faces_per_request: int = 1,
    picture_bytes: float | None = None,
    gpu_faces_per_s: float | None = None,
    network_gbit: float = 10.0,
) -> Load:
    """Fill in what was not told: an assumed size of a picture, an assumed GPU."""
    return Load(
        requests_per_s,
        faces_per_request,
        picture_px,
        picture_bytes or picture_px**2 * value_of("bytes_per_pixel"),
        gpu_faces_per_s or value_of("gpu_faces"),
        network_gbit,
    )


def _call_ms(load: Load) -> float:
    """Milliseconds of a core that one request takes in front of the GPUs."""
    per_face = _decode_ms(load.picture_px) + value_of("hop_picture") + value_of("hop_code")
    further = (load.faces_per_request - 1) * value_of("further_face")
    return value_of("call") + further + load.faces_per_request * per_face


def _decode_ms(side_px: int) -> float:
    """Straight lines over pixels between what was measured; in proportion beyond the largest."""
    known = sorted((side**2, ms) for side, ms in DECODE_MS.items())
    pixels = side_px**2
    if pixels <= known[0][0]:
        return known[0][1]
    for (low, low_ms), (high, high_ms) in zip(known, known[1:], strict=False):
        if pixels <= high:
            return low_ms + (high_ms - low_ms) * (pixels - low) / (high - low)
    return known[-1][1] * pixels / known[-1][0]


def _process_mib(load: Load) -> float:
    """Memory of one process with all its places taken, one picture decoded."""
    held = load.faces_per_request * (load.picture_bytes + value_of("encoder_bytes"))
    decoded = 3 * load.picture_px**2
    return value_of("service_memory") + (value_of("max_concurrency") * held + decoded) / 2**20


def _count(needed: float, each: float) -> int:
    """How many of `each` bear `needed` at the planned load, with the spares."""
    return math.ceil(needed / (each * value_of("load"))) + int(value_of("spares"))


def _gbit(per_s: float, size_bytes: float) -> float:
    return per_s * size_bytes * 8 / 1e9
