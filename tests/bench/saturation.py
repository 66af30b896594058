"""How much of the bare graphs' throughput is left through the service when callers saturate it.

Windows take turns: encoder and flow in this process on batches of 8 decoded pictures, and
`Embed` requests of 8 encoded pictures from a client process whose callers never let the server
rest; same graphs, same threads. Where all CPUs run graphs the client and decoding take theirs
from them, so the CPU that each took is beside it: with all CPUs busy, the share can be no more
than bare / (server + client). Exit 1 if a share is below what is wanted.
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
from functools import partial
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
    """Faces per second of each window, and milliseconds of CPU that a face took in each process."""

    bare: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)
    bare_ms: list[float] = field(default_factory=list)
    server_ms: list[float] = field(default_factory=list)
    client_ms: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """What the service reaches, of its neighbours in time: the median over the windows."""
        pairs = zip(self.served, zip(self.bare, self.bare[1:], strict=False), strict=True)
        return median(served / (sum(around) / 2) for served, around in pairs)


def saturate(
    address: str, request: bytes, callers: int, seconds: float
) -> tuple[int, float, float]:
    """Call from several callers at once; return all faces, and CPU seconds of this process.

    Between both, faces per second from the first answer to the last one with all callers there: a
    window of few long calls would count unfinished ones, and the last meet an idle server.
    """
    return asyncio.run(_saturate(address, request, callers, seconds))


async def _saturate(
    address: str, request: bytes, callers: int, seconds: float
) -> tuple[int, float, float]:
    done: list[float] = []
    ends = time.perf_counter() + seconds
    cpu = time.process_time()
    options = (("grpc.max_receive_message_length", -1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call = channel.unary_unary(_METHOD, bytes, bytes)

        async def caller() -> None:
            while time.perf_counter() < ends:
                await call(request, wait_for_ready=True)
                done.append(time.perf_counter())

        await asyncio.gather(*(caller() for _ in range(callers)))
    kept = done[: max(2, len(done) - callers + 1)]
    rate = FACES * (len(kept) - 1) / (kept[-1] - kept[0])
    return FACES * len(done), rate, time.process_time() - cpu


def bare_window(bare: Bare, pixels: NDArray[np.uint8], seconds: float) -> tuple[float, float]:
    """Return faces per second of whole runs, and milliseconds of CPU per face."""
    started, cpu, runs = time.perf_counter(), time.process_time(), 0
    while (passed := time.perf_counter() - started) < seconds:
        bare.embed(pixels)
        runs += 1
    return FACES * runs / passed, 1e3 * (time.process_time() - cpu) / (FACES * runs)


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
        call = partial(saturate, server.address, request, setting.callers)
        clients.submit(call, 1.0).result()
        for i in range(setting.windows + 1):
            if i > 0:
                cpu = cpu_s(server.process.pid)
                faces_done, rate, client_s = clients.submit(call, setting.seconds).result()
                found.served.append(rate)
                found.client_ms.append(1e3 * client_s / faces_done)
                server_s = cpu_s(server.process.pid) - cpu
                found.server_ms.append(1e3 * server_s / faces_done)
            rate, bare_ms = bare_window(bare, pixels, setting.seconds)
            found.bare.append(rate)
            found.bare_ms.append(bare_ms)
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
    parser.add_argument(
        "--skip-full", action="store_true", help="leave out the full-size graphs (4 minutes)"
    )
    parser.add_argument("--full", type=Path, default=FULL, metavar="DIR", help="full-size graphs")
    arguments = parser.parse_args()
    print(f"Embed in requests of {FACES} pictures; {platform.machine()}, {os.cpu_count()} CPUs")
    print(
        f"{'graphs':10} {'threads':>7} {'bare, faces/s':>14} {'served':>9} {'share':>7} "
        f"{'wanted':>7}   CPU ms per face: {'bare':>7} {'server':>7} {'client':>7}"
    )
    short = False
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as clients:
        for setting in settings(arguments.seconds, arguments.full_seconds, arguments.full):
            if arguments.skip_full and setting.repository != DEMO:
                continue
            found = measure(setting, clients)
            short = short or found.share < setting.wanted
            print(
                f"{setting.name:10} {setting.threads:7d} {median(found.bare):14.1f} "
                f"{median(found.served):9.1f} {found.share:7.1%} {setting.wanted:7.0%} "
                f"{'':18} {median(found.bare_ms):7.2f} {median(found.server_ms):7.2f} "
                f"{median(found.client_ms):7.2f}",
                flush=True,
            )
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
