"""Stopping: health says so first, calls are answered on, then those in flight finish."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.service.conftest import World

from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

# A machine that is busy with other tests.
PATIENCE_S = 30.0
DRAIN_S = 1.5
SERVE = [sys.executable, "-m", "wstar_service", "--listen", "127.0.0.1:0", "--threads", "1"]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WATCH = health_pb2.HealthCheckRequest()


def test_calls_are_answered_while_it_drains_and_in_flight_finishes(world: World) -> None:
    async def scenario() -> list[pb.EmbedResponse]:
        before = len(asyncio.all_tasks())
        async with world.serving() as running:
            health: Any = health_pb2_grpc.HealthStub(running.channel)
            watch = health.Watch(WATCH)
            assert (await watch.read()).status == SERVING
            running.runner.gate.clear()
            running.runner.entered.clear()
            call = running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            await running.runner.entered.wait()
            stop = asyncio.ensure_future(running.server.stop(0.5))
            assert (await watch.read()).status == NOT_SERVING
            assert (await health.Check(WATCH)).status == NOT_SERVING
            # A new call while the rest of the world learns that it goes.
            late = await running.stub.Embed(pb.EmbedRequest(faces=[world.code(51)]))
            assert await watch.read() is grpc.aio.EOF  # type: ignore[attr-defined]
            assert not call.done()
            running.runner.gate.set()
            found = [late, await call]
            await stop
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.stub.GetInfo(pb.GetInfoRequest())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        async with asyncio.timeout(PATIENCE_S):
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0.01)
        return found

    assert [len(reply.embeddings) for reply in asyncio.run(scenario())] == [1, 1]


def test_open_watches_do_not_hold_up_a_stop(world: World) -> None:
    async def scenario() -> float:
        async with world.serving(grace_s=30.0) as running:
            stub: Any = health_pb2_grpc.HealthStub(running.channel)
            watches = [stub.Watch(WATCH) for _ in range(3)]
            for watch in watches:
                await watch.read()
            started = time.perf_counter()
            await running.server.stop()
            return time.perf_counter() - started

    assert asyncio.run(scenario()) < 5.0


def test_stopping_ends_calls_that_outlast_the_grace(world: World) -> None:
    async def scenario() -> grpc.StatusCode:
        async with world.serving(grace_s=0.1) as running:
            running.runner.gate.clear()
            running.runner.entered.clear()
            call = running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            await running.runner.entered.wait()
            await running.server.stop()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            return caught.value.code()

    assert asyncio.run(scenario()) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_a_stopped_server_leaves_no_thread(world: World) -> None:
    def names() -> set[str]:
        # grpc.aio keeps one for the process.
        return {t.name for t in threading.enumerate() if "_poll_wrapper" not in t.name}

    async def scenario() -> None:
        async with world.serving() as running:
            await running.stub.Embed(pb.EmbedRequest(faces=[world.face()] * 8))

    before = names()
    asyncio.run(scenario())
    assert names() <= before


@dataclass(frozen=True)
class Serving:
    """A process of its own, ready; its log goes to a file, since a full pipe would hold it up."""

    process: subprocess.Popen[str]
    address: str
    log: Path

    def ended(self) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(PATIENCE_S)
        assert "Traceback" not in self.log.read_text()
        return code


def _killed(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_S)


@pytest.fixture
def serve(repository: Path, tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    """Start a process with more flags; kills what the test did not end."""
    with ExitStack() as held:

        def start(*arguments: str) -> Serving:
            path = tmp_path / "log"
            command = [*SERVE, "--repository", str(repository), *arguments]
            log = held.enter_context(path.open("wb"))
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, process_group=0
            )
            held.callback(_killed, process)
            assert process.stdout is not None
            with process.stdout as stdout:
                return Serving(process, stdout.readline().strip(), path)

        yield start


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_lets_clients_go_first(
    serve: Callable[..., Serving], world: World, workers: int
) -> None:
    served = serve(f"--workers={workers}", f"--drain-s={DRAIN_S}")
    with grpc.insecure_channel(served.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(WATCH, timeout=PATIENCE_S)
        assert next(watch).status == SERVING
        stub: Any = LatentSpaceServiceStub(channel)
        told = time.monotonic()
        served.process.terminate()
        assert next(watch).status == NOT_SERVING
        answered = 0
        while time.monotonic() < told + DRAIN_S / 2:
            stub.Embed(pb.EmbedRequest(faces=[world.code(51)]), timeout=PATIENCE_S)
            answered += 1
        # In flight when the time is over: many faces, each drawn.
        strengths = [step / 64 for step in range(64)]
        edits = [pb.AttributeEdit(attribute="Smiling", target_probability=0.9)]
        film = pb.EditRequest(face=world.face(), edits=edits, strengths=strengths)
        calls = []
        while time.monotonic() < told + DRAIN_S - 0.3:
            calls.append(stub.Edit.future(film, timeout=PATIENCE_S))
            time.sleep(0.02)
        assert all(len(call.result().results) == 64 for call in calls)
        assert list(watch) == []
    assert served.ended() == 0
    assert answered > 0
    assert time.monotonic() - told >= DRAIN_S


def test_ctrl_c_skips_the_drain(serve: Callable[..., Serving]) -> None:
    served = serve("--drain-s=60")
    started = time.monotonic()
    served.process.send_signal(signal.SIGINT)
    assert served.ended() == 0
    assert time.monotonic() - started < PATIENCE_S


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_drain_at_once(
    serve: Callable[..., Serving], second: signal.Signals
) -> None:
    served = serve("--drain-s=60")
    with grpc.insecure_channel(served.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(WATCH, timeout=PATIENCE_S)
        assert next(watch).status == SERVING
        served.process.terminate()
        assert next(watch).status == NOT_SERVING
        served.process.send_signal(second)
        assert served.ended() == 128 + second


@pytest.mark.slow
def test_ten_thousand_faces_of_one_stream_leave_no_memory(
    serve: Callable[..., Serving], world: World
) -> None:
    served = serve("--drain-s=0")
    with grpc.insecure_channel(served.address) as channel:
        stub: Any = LatentSpaceServiceStub(channel)

        def stream(count: int) -> int:
            """Embed so many faces; return what the server holds then, in KiB."""
            faces = [world.face(byte) for byte in range(200)]
            sent = (pb.EmbedStreamRequest(id=str(i), face=faces[i % 200]) for i in range(count))
            assert {reply.id for reply in stub.EmbedStream(sent)} == {str(i) for i in range(count)}
            status = Path(f"/proc/{served.process.pid}/status").read_text()
            return int(re.search(r"VmRSS:\s+(\d+)", status)[1])  # type: ignore[index]

        stream(1000)
        before = stream(1000)
        after = stream(10_000)
    served.process.terminate()
    assert served.ended() == 0
    # 10,000 answers are 80 MB; what heaps gain by chance is below 2 MiB.
    assert after - before < 4096, (before, after)
