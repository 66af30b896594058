"""The server under fuzzing: started as users start it, asked in raw bytes, watched from outside."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.load.fuzz_messages import Case

from wstar.v1 import wstar_pb2 as pb

SERVICE = "wstar.v1.LatentSpaceService"
DEMO = Path(__file__).resolve().parents[2] / "model_repository" / "demo"
# Below the default, so that the transport's own refusal of a large message is met cheaply.
MAX_MESSAGE_BYTES = 16 * 2**20
# A call that takes longer counts as hanging.
PATIENCE_S = 60.0
_MAX_DETAILS_BYTES = 4096

_OK, _INVALID, _EXHAUSTED, _PRECONDITION = (
    code.value[0]
    for code in (
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.FAILED_PRECONDITION,
    )
)
# What wstar.proto allows and a sound, ready server without tokens has a reason to answer.
ALLOWED = {
    "GetInfo": {_OK, _INVALID},
    "EmbedStream": {_OK, _INVALID, _EXHAUSTED},
    **dict.fromkeys(
        ("Embed", "Distance", "Classify", "Edit"), {_OK, _INVALID, _EXHAUSTED, _PRECONDITION}
    ),
}
ITEM_ALLOWED = {_INVALID, _EXHAUSTED, _PRECONDITION}
# Answers of the transport, which know no details.
TRANSPORT = {_EXHAUSTED: "message larger than max"}


@dataclass
class Served:
    """A running server: where it listens, and its process as the kernel sees it."""

    address: str
    metrics: str
    process: subprocess.Popen[bytes]
    log: Path

    def resident_mib(self) -> float:
        """Memory it holds now; 0 when it is gone."""
        found = re.search(r"VmRSS:\s+(\d+) kB", self._proc("status"))
        return int(found[1]) / 1024 if found else 0.0

    def threads(self) -> int:
        """Threads it has now."""
        found = re.search(r"Threads:\s+(\d+)", self._proc("status"))
        return int(found[1]) if found else 0

    def files(self) -> int:
        """Files and sockets it has open now."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def under_way(self) -> float:
        """Calls worked on or waiting, as its metrics say."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10) as page:
            text = page.read().decode()
        found = re.findall(
            r"^wstar_(?:in_flight_calls|queue_depth|open_streams)(?:{.*})? (\S+)$", text, re.M
        )
        if len(found) < 3:
            raise RuntimeError("the metrics page does not tell what is under way")
        return sum(float(value) for value in found)

    def faults(self) -> list[str]:
        """What its log holds of faults of its own."""
        text = self.log.read_text(errors="replace")
        return re.findall(r"^.*(?:Traceback|\"level\": ?\"ERROR\"| ERROR ).*$", text, re.M)

    def _proc(self, name: str) -> str:
        try:
            return Path(f"/proc/{self.process.pid}/{name}").read_text()
        except OSError:
            return ""


@contextmanager
def serving(environment: Mapping[str, str]) -> Iterator[Served]:
    """Serve the demo repository on free ports of this machine until the block ends."""
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "wb") as log:
        command = [sys.executable, "-m", "wstar_service", "--repository", str(DEMO)]
        metrics = f"127.0.0.1:{_free_port()}"
        command += ["--listen", "127.0.0.1:0", "--metrics", metrics]
        command += ["--max-message-bytes", str(MAX_MESSAGE_BYTES)]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            env=environment,
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().decode().strip()
            if not address:
                text = (Path(folder) / "log").read_text()
                raise RuntimeError(f"the server did not start:\n{text[-2000:]}")
            yield Served(address, metrics, process, Path(folder) / "log")
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def health_s(channel: grpc.Channel) -> float:
    """Ask for health; return how long the answer took, in s. Raises if it is not SERVING."""
    started_s = time.perf_counter()
    stub: Any = health_pb2_grpc.HealthStub(channel)
    reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise RuntimeError("health is not SERVING")
    return time.perf_counter() - started_s


@dataclass
class Connection:
    """One connection of its own to the server, for calls and for streams.

    Streams go through the other API of grpc: when a server ends a stream while its caller still
    writes, grpc.aio tells INTERNAL ("Internal error from Core") whatever the server said.
    """

    calls: grpc.aio.Channel
    streams: grpc.Channel

    @classmethod
    def open(cls, address: str) -> Connection:
        """Connect."""
        options = (
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
        )
        return cls(
            grpc.aio.insecure_channel(address, options=options),
            grpc.insecure_channel(address, options=options),
        )

    async def close(self) -> None:
        """Disconnect."""
        await self.calls.close(None)
        self.streams.close()

    async def ask(self, case: Case) -> tuple[str, str | None]:
        """Send one case; return its status and what is wrong with the answer, None for nothing."""
        method = f"/{SERVICE}/{case.method}"
        try:
            if case.method == "EmbedStream":
                replies = await asyncio.to_thread(self._stream, method, case.requests)
                return "OK", _wrong_items(replies, len(case.requests))
            call = self.calls.unary_unary(method, bytes, bytes)
            return "OK", _wrong_reply(case.method, await call(case.requests[0], timeout=PATIENCE_S))
        except (grpc.aio.AioRpcError, grpc.RpcError) as error:
            return _refusal(error, case.method)

    def _stream(self, method: str, requests: tuple[bytes, ...]) -> list[bytes]:
        call = self.streams.stream_stream(method, bytes, bytes)
        return list(call(iter(requests), timeout=PATIENCE_S))


def _refusal(error: Any, method: str) -> tuple[str, str | None]:  # noqa: ANN401
    code, name, told = error.code().value[0], error.code().name, error.details() or ""
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
    if TRANSPORT.get(code, "\0") in told:
        return f"{name} (transport)", None
    if code not in ALLOWED[method]:
        return name, f"{name} is not a status of {method}: {told}"
    details = trailers.get("grpc-status-details-bin", b"")
    if len(details) > _MAX_DETAILS_BYTES:
        return name, f"details of {len(details)} bytes"
    status = status_pb2.Status.FromString(details)
    info = error_details_pb2.ErrorInfo()
    if not any(detail.Unpack(info) for detail in status.details) or info.domain != "wstar":
        return name, f"no ErrorInfo of wstar: {told}"
    if not info.reason or "x-request-id" not in trailers:
        return name, "no reason, or no request id"
    return name, None


def _wrong_items(replies: list[bytes], sent: int) -> str | None:
    if len(replies) != sent:
        return f"{len(replies)} answers to {sent} faces"
    for data in replies:
        reply = pb.EmbedStreamResponse.FromString(data)
        kind = reply.WhichOneof("outcome")
        if kind is None:
            return "an answer without outcome"
        if kind == "error" and (reply.error.code not in ITEM_ALLOWED or not reply.error.reason):
            return f"item error {reply.error.code} {reply.error.reason}: {reply.error.message}"
    return None


def _wrong_reply(method: str, data: bytes) -> str | None:
    """Read a reply; distances and scores of whatever was sent are finite or the call refused."""
    reply = getattr(pb, f"{method}Response").FromString(data)
    numbers: list[float] = []
    for distance in getattr(reply, "distances", ()):
        numbers += [distance.squared_distance, distance.percentile, distance.residual]
    for face in (*getattr(reply, "classifications", ()), *getattr(reply, "results", ())):
        numbers += [score.probability for score in face.scores]
    wrong = [number for number in numbers if not abs(number) < float("inf")]
    return f"a reply holds {wrong[0]}" if wrong else None
