"""What `Embed` through gRPC costs over decoding and over the same graphs called in this process.

All of it takes turns in one run, so that a busy neighbour slows each: reading the pictures and
running encoder and flow here, the whole call from a synchronous client on this machine, and the
same call to a bare gRPC server that decodes, runs both graphs and does nothing else.
Overhead is, turn by turn, the call minus decoding and graphs. Exit 1 if its median is not below
2 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import onnxruntime
from tests.bench.bare_server import METHOD
from tests.bench.overhead_profile import table
from tests.bench.served import DEMO, Bare, serving

from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

BATCHES = (1, 8)
WANTED_MS = 2.0
PROFILED_CALLS = 2000
_GRAPHS = ("encoder", "flow")
_PROFILER = Path(__file__).with_name("overhead_profile.py")


@dataclass
class Case:
    """One size of request and what was measured, in milliseconds, turn by turn."""

    batch: int
    pictures: list[bytes]
    request: pb.EmbedRequest
    call: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    graphs: list[float] = field(default_factory=list)
    through_bare: list[float] = field(default_factory=list)
    timings: list[pb.Timings] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """Medians of one case in milliseconds; what begins with `server` is what the reply tells."""

    batch: int
    call_ms: float
    decode_ms: float
    graphs_ms: float
    overhead_ms: float
    bare_overhead_ms: float
    server_decode_ms: float
    server_queue_ms: float
    server_graphs_ms: float
    server_rest_ms: float
    outside_ms: float


def measure(
    cases: list[Case],
    bare: Bare,
    stub: Any,  # noqa: ANN401
    other: grpc.Channel,
    repeats: int,
) -> list[Row]:
    """Run every case `repeats` times in turns, after rounds that do not count."""
    embed = other.unary_unary(METHOD, pb.EmbedRequest.SerializeToString, None)
    for turn in range(-10, repeats):
        for case in cases:
            decode_ms, pixels = _timed(partial(bare.read, case.pictures))
            graphs_ms, _ = _timed(partial(bare.embed, pixels))
            call_ms, reply = _timed(partial(stub.Embed, case.request))
            # Pause as before the other call: what sleeps takes its time to wake up.
            bare.embed(pixels)
            through_bare_ms, _ = _timed(partial(embed, case.request))
            if turn >= 0:
                case.decode.append(decode_ms)
                case.graphs.append(graphs_ms)
                case.call.append(call_ms)
                case.through_bare.append(through_bare_ms)
                case.timings.append(reply.timings)
    return [_row(case) for case in cases]


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return 1e3 * (time.perf_counter() - started), found


def _row(case: Case) -> Row:
    needed = [decode + graphs for decode, graphs in zip(case.decode, case.graphs, strict=True)]
    stages = [(timings.stage_ms, timings.total_ms) for timings in case.timings]
    return Row(
        case.batch,
        median(case.call),
        median(case.decode),
        median(case.graphs),
        median(call - need for call, need in zip(case.call, needed, strict=True)),
        median(call - need for call, need in zip(case.through_bare, needed, strict=True)),
        median(ms["decode"] for ms, _ in stages),
        median(ms["queue"] for ms, _ in stages),
        median(sum(ms[name] for name in _GRAPHS) for ms, _ in stages),
        median(total - sum(ms.values()) for ms, total in stages),
        median(call - ms.total_ms for call, ms in zip(case.call, case.timings, strict=True)),
    )


def lines(rows: list[Row]) -> Iterator[str]:
    """Yield the tables."""
    names = ("Embed", "decoding", "graphs", "overhead", "bare gRPC")
    yield f"{'ms, p50':>8}" + "".join(f" {name:>10}" for name in names)
    for row in rows:
        cells = (row.call_ms, row.decode_ms, row.graphs_ms, row.overhead_ms, row.bare_overhead_ms)
        verdict = "below" if row.overhead_ms < WANTED_MS else "NOT below"
        yield (
            f"{row.batch:8d}"
            + "".join(f" {cell:10.2f}" for cell in cells)
            + f"  (overhead {verdict} {WANTED_MS:g} ms)"
        )
    yield "\nwhere a call's time goes, as the server tells it, and what is left outside of it"
    names = ("decoding", "waiting", "graphs", "rest", "client, wire")
    yield f"{'ms, p50':>8}" + "".join(f" {name:>12}" for name in names)
    for row in rows:
        cells = (
            row.server_decode_ms,
            row.server_queue_ms,
            row.server_graphs_ms,
            row.server_rest_ms,
            row.outside_ms,
        )
        yield f"{row.batch:8d}" + "".join(f" {cell:12.2f}" for cell in cells)


def profile(repository: Path, threads: int, request: pb.EmbedRequest) -> Iterator[str]:
    """Yield where the server's event loop spends its time on calls of one picture."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile"
        command = (str(_PROFILER), str(path))
        with (
            serving(repository, threads, command) as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            stub: Any = LatentSpaceServiceStub(channel)
            for _ in range(PROFILED_CALLS):
                stub.Embed(request)
        yield from table(path, PROFILED_CALLS)


@contextmanager
def bare_server(repository: Path, threads: int) -> Iterator[str]:
    """Run `tests.bench.bare_server`; yield its address."""
    command = [sys.executable, "-m", "tests.bench.bare_server", str(repository), str(threads)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> int:
    """Measure, print the tables, write JSON if asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", type=Path, default=DEMO, metavar="DIR")
    parser.add_argument("--repeats", type=int, default=200, metavar="COUNT", help="default: 200")
    parser.add_argument("--threads", type=int, default=1, metavar="COUNT", help="default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    if not (arguments.repository / "flow" / "space.json").is_file():
        parser.error(f"--repository: no flow/space.json in {arguments.repository}")
    bare = Bare(arguments.repository, arguments.threads)
    cases = []
    for batch in BATCHES:
        pictures = bare.pictures(batch)
        faces = [pb.Face(picture=pb.Picture(data=data)) for data in pictures]
        cases.append(Case(batch, pictures, pb.EmbedRequest(faces=faces)))
    with (
        serving(arguments.repository, arguments.threads) as server,
        grpc.insecure_channel(server.address) as channel,
        bare_server(arguments.repository, arguments.threads) as address,
        grpc.insecure_channel(address) as other,
    ):
        rows = measure(cases, bare, LatentSpaceServiceStub(channel), other, arguments.repeats)
    machine = (
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, {arguments.threads} thread(s) "
        f"per graph, onnxruntime {onnxruntime.__version__}, medians of {arguments.repeats}"
    )
    print(f"{arguments.repository.name} at {bare.manifest.resolution} px; {machine}")
    print("\n".join(lines(rows)))
    print(f"\nprofile of {PROFILED_CALLS} calls of one picture")
    print("\n".join(profile(arguments.repository, arguments.threads, cases[0].request)))
    if arguments.json:
        text = json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2)
        temporary = arguments.json.with_suffix(".tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(arguments.json)
    return 0 if all(row.overhead_ms < WANTED_MS for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
