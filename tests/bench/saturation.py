"""How much of the bare graphs' throughput is left through the service when callers saturate it.

Windows take turns: encoder and flow in this process on batches of 8 decoded pictures, and
`Embed` requests of 8 encoded pictures from a client process whose callers never let the server
rest; same graphs, same threads. The client and decoding take CPU from the graphs where all CPUs
run graphs, so the CPU that each took is beside it. Exit 1 if a share is below what is wanted.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import grpc
import numpy as np
from numpy.typing import NDArray
from tests.bench.served import DEMO, Bare, serving
from tests.load.soak_watch import cpu_s

from wstar.v1 import wstar_pb2 as pb
from wstar_service.cpus import allowed_cpus

FULL = Path(__file__).resolve().parents[2] / "runs" / "full-scale" / "repository"
FACES = 8
DEMO_SHARE, FULL_SHARE = 0.80, 0.95
_METHOD = "/wstar.v1.LatentSpaceService/Embed"


@dataclass(frozen=True)
class Setting:
    """What is compared: graphs, threads per graph, callers at once, and how long."""

    name: str
    repository: Path
    threads: int
    callers: int
    windows: int
    seconds: float
    wanted: float


@dataclass
class Found:
    """Faces per second of each window; CPUs in use, on average, by server and client."""

    bare: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    server_cpus: list[float] = field(default_factory=list)
    client_cpus: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """What the service reaches, of its neighbours in time: the median over the windows."""
        pairs = zip(self.served, zip(self.bare, self.bare[1:], strict=False), strict=True)
        return median(served / (sum(around) / 2) for served, around in pairs)


def saturate(address: str, request: bytes, callers: int, seconds: float) -> tuple[float, float]:
    """Call from several callers at once; return faces per second and CPUs in use.

    From the first answer to the last: a window of few long calls would count unfinished ones.
    """
    return asyncio.run(_saturate(address, request, callers, seconds))


async def _saturate(
    address: str, request: bytes, callers: int, seconds: float
) -> tuple[float, float]:
    done: list[tuple[float, float]] = []
    ends = time.perf_counter() + seconds
    options = (("grpc.max_receive_message_length", -1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = channel.unary_unary(_METHOD)

        async def caller() -> None:
            while time.perf_counter() < ends:
                await call(request, wait_for_ready=True)
                done.append((time.perf_counter(), time.process_time()))

        await asyncio.gather(*(caller() for _ in range(callers)))
    # When the time is over the callers leave one by one, and the last calls meet an idle server.
    kept = done[: max(2, len(done) - callers + 1)]
    (first, cpu_first), (last, cpu_last) = kept[0], kept[-1]
    return FACES * (len(kept) - 1) / (last - first), (cpu_last - cpu_first) / (last - first)


def bare_rate(bare: Bare, pixels: NDArray[np.uint8], seconds: float) -> float:
    """Faces per second of whole runs."""
    started, runs = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        bare.embed(pixels)
        runs += 1
    return FACES * runs / passed


def measure(setting: Setting, clients: ProcessPoolExecutor) -> Found:
    """Let bare and served windows take turns, bare ones at both ends."""
    bare = Bare(setting.repository, setting.threads)
    pictures = bare.pictures(FACES)
    pixels = bare.read(pictures)
    faces = [pb.Face(picture=pb.Picture(data=data)) for data in pictures]
    request = pb.EmbedRequest(faces=faces).SerializeToString()
    found = Found()
    with serving(setting.repository, setting.threads) as server:
        bare.embed(pixels)
        asked = (saturate, server.address, request, setting.callers)
        clients.submit(*asked, 1.0).result()
        found.bare.append(bare_rate(bare, pixels, setting.seconds))
        for _ in range(setting.windows):
            began, cpu = time.perf_counter(), cpu_s(server.process.pid)
            rate, client_cpus = clients.submit(*asked, setting.seconds).result()
            passed = time.perf_counter() - began
            found.served.append(rate)
            found.client_cpus.append(client_cpus)
            found.server_cpus.append((cpu_s(server.process.pid) - cpu) / passed)
            found.bare.append(bare_rate(bare, pixels, setting.seconds))
    return found


def settings(seconds: float, full_seconds: float, full: Path) -> Iterator[Setting]:
    """Yield what is compared on this machine; full-size graphs only where they are."""
    for threads in sorted({1, allowed_cpus()}):
        yield Setting("demo", DEMO, threads, 6, 5, seconds, DEMO_SHARE)
    if (full / "flow" / "space.json").is_file():
        yield Setting("full size", full, allowed_cpus(), 3, 2, full_seconds, FULL_SHARE)
    else:
        print(f"full size: not run, there is no {full} (tests/full_scale.sh makes one)")


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="per demo window (default: 4)")
    parser.add_argument(
        "--full-seconds", type=float, default=30.0, help="per full-size window (default: 30)"
    )
    parser.add_argument("--full", type=Path, default=FULL, metavar="DIR", help="full-size graphs")
    arguments = parser.parse_args()
    print(f"Embed in requests of {FACES} pictures; {platform.machine()}, {os.cpu_count()} CPUs")
    print(
        f"{'graphs':10} {'threads':>7} {'bare, faces/s':>14} {'served':>9} {'share':>7} "
        f"{'wanted':>7} {'server CPUs':>12} {'client CPUs':>12}"
    )
    short = False
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as clients:
        for setting in settings(arguments.seconds, arguments.full_seconds, arguments.full):
            found = measure(setting, clients)
            short = short or found.share < setting.wanted
            print(
                f"{setting.name:10} {setting.threads:7d} {median(found.bare):14.1f} "
                f"{median(found.served):9.1f} {found.share:7.1%} {setting.wanted:7.0%} "
                f"{median(found.server_cpus):12.2f} {median(found.client_cpus):12.2f}",
                flush=True,
            )
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
