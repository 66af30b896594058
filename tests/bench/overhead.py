"""What the service costs over the bare graphs: medians side by side, interleaved in one run.

Each case runs once in this process (ONNX Runtime on arrays) and once through gRPC (a server on
this machine, same graphs, same threads), alternately, so that a busy neighbour slows both. The
gRPC side starts from what a caller has: PNG bytes or a packed code.
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
import numpy as np
import onnxruntime

from wstar.codes import Code
from wstar.graphs import Space, graphs
from wstar.images import encode
from wstar.space import SpaceManifest
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

DEFAULT_REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository" / "demo"
BATCHES = (1, 8)


@dataclass
class Case:
    """One comparison; times in milliseconds, `graphs_ms` and `decode_ms` as the reply says."""

    name: str
    batch: int
    direct: Callable[[], Any]
    remote: Callable[[], Any]
    direct_ms: list[float] = field(default_factory=list)
    remote_ms: list[float] = field(default_factory=list)
    graphs_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """Medians of one case."""

    case: str
    batch: int
    in_process_ms: float
    grpc_ms: float
    overhead_ms: float
    ratio: float
    server_graphs_ms: float
    server_decode_ms: float


class Graphs:
    """The graphs in this process, with the settings of the service."""

    def __init__(self, repository: Path, threads: int) -> None:
        text = (repository / "flow" / "space.json").read_text(encoding="utf-8")
        self.manifest = SpaceManifest.from_json(text, "flow/space.json")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions = {
            spec.name: onnxruntime.InferenceSession(
                repository / spec.name / "1" / "model.onnx",
                options,
                providers=["CPUExecutionProvider"],
            )
            for spec in graphs(self.manifest.resolution, self.manifest.encoder_side)
        }

    def __call__(self, graph: str, **arrays: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401
        """Run one graph; return its first output."""
        return self._sessions[graph].run(None, arrays)[0]


def cases(run: Graphs, stub: LatentSpaceServiceStub) -> Iterator[Case]:
    """Yield the comparisons."""
    manifest = run.manifest
    rng = np.random.default_rng(0)
    plus_id = next(s.space_id for s in stub.GetInfo(pb.GetInfoRequest()).spaces if s.space == 3)
    k = len(manifest.attributes)
    for batch in BATCHES:
        side = manifest.encoder_side
        images = rng.integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
        pictures = [pb.Face(picture=pb.Picture(data=encode(image, "PNG"))) for image in images]
        w = run("encoder", image=images)
        w_star = run("flow", w=w)
        codes = _faces(w_star, Space.W_STAR, manifest.space_id)
        plus = _faces(w, Space.W_PLUS, plus_id)
        zeros = np.zeros((batch, k), np.float32)

        def carry(w: Any = w, zeros: Any = zeros) -> None:  # noqa: ANN401
            run("flow", w=run("flow_plus_inverse", w_star=w, coefficients=zeros))

        def embed(images: Any = images) -> None:  # noqa: ANN401
            run("flow", w=run("encoder", image=images))

        yield Case(
            "classify codes",
            batch,
            partial(run, "classifiers", w_star=w_star),
            partial(stub.Classify, pb.ClassifyRequest(faces=codes)),
        )
        yield Case("embed W+ codes", batch, carry, partial(stub.Embed, pb.EmbedRequest(faces=plus)))
        yield Case(
            "embed pictures", batch, embed, partial(stub.Embed, pb.EmbedRequest(faces=pictures))
        )
        if batch == 1:

            def edit(images: Any = images, zeros: Any = zeros) -> None:  # noqa: ANN401
                before = run("encoder", image=images)
                w = run("flow_id_inverse", w_star=run("flow_id", w=before), coefficients=zeros)
                run("flow_id", w=w)
                run("flow", w=np.concatenate([w, before]))
                run("generator", w=w)

            request = pb.EditRequest(face=pictures[0])
            yield Case("edit a picture", 1, edit, partial(stub.Edit, request))


def _faces(values: np.ndarray[Any, Any], space: Space, space_id: str) -> list[pb.Face]:
    return [pb.Face(code=Code(code, space, space_id).to_message()) for code in values]


def measure(found: list[Case], repeats: int) -> list[Row]:
    """Run every case `repeats` times in turns, after two rounds that do not count."""
    for turn in range(-2, repeats):
        for case in found:
            started = time.perf_counter()
            case.direct()
            between = time.perf_counter()
            reply = case.remote()
            ended = time.perf_counter()
            if turn >= 0:
                case.direct_ms.append(1e3 * (between - started))
                case.remote_ms.append(1e3 * (ended - between))
                case.graphs_ms.append(reply.timings.graphs_ms)
                case.decode_ms.append(reply.timings.decode_ms)
    return [_row(case) for case in found]


def _row(case: Case) -> Row:
    direct, remote = median(case.direct_ms), median(case.remote_ms)
    return Row(
        case.name,
        case.batch,
        direct,
        remote,
        remote - direct,
        remote / direct,
        median(case.graphs_ms),
        median(case.decode_ms),
    )


@contextmanager
def serving(repository: Path, threads: int) -> Iterator[LatentSpaceServiceStub]:
    """Start `wstar-serve` on a free port, with its log in a file, and stop it."""
    command = [sys.executable, "-m", "wstar_service", "--listen", "127.0.0.1:0"]
    command += ["--repository", str(repository), "--threads", str(threads)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        try:
            if not address:
                log.seek(0)
                raise SystemExit(f"error: the server did not start\n{log.read().decode()}")
            options = [("grpc.max_receive_message_length", -1)]
            with grpc.insecure_channel(address, options) as channel:
                yield LatentSpaceServiceStub(channel)
        finally:
            process.terminate()
            process.wait(60)


def main() -> int:
    """Measure, print the table, write JSON if asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", type=Path, default=DEFAULT_REPOSITORY, metavar="DIR")
    parser.add_argument("--repeats", type=int, default=40, metavar="COUNT", help="default: 40")
    parser.add_argument("--threads", type=int, default=1, metavar="COUNT", help="default: 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    if not (arguments.repository / "flow" / "space.json").is_file():
        parser.error(f"--repository: no flow/space.json in {arguments.repository}")
    run = Graphs(arguments.repository, arguments.threads)
    with serving(arguments.repository, arguments.threads) as stub:
        rows = measure(list(cases(run, stub)), arguments.repeats)
    machine = (
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, {arguments.threads} thread(s) "
        f"per graph, onnxruntime {onnxruntime.__version__}, medians of {arguments.repeats}"
    )
    print(f"{arguments.repository.name} at {run.manifest.resolution} px; {machine}")
    print(f"{'':16} {'batch':>5} {'in process':>11} {'gRPC':>9} {'overhead':>9} {'ratio':>6}")
    for row in rows:
        print(
            f"{row.case:16} {row.batch:5d} {row.in_process_ms:8.2f} ms {row.grpc_ms:6.2f} ms "
            f"{row.overhead_ms:6.2f} ms {row.ratio:6.2f}"
        )
    if arguments.json:
        text = json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2)
        temporary = arguments.json.with_suffix(".tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
