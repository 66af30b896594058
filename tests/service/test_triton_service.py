"""`wstar-serve --triton` through what happens to a Triton: killed, restarted, reloaded, stopped."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.service.triton_process import DEMO, STOP_S, TritonProcess, eventually

from wstar.codes import Code
from wstar.graphs import Space, classifiers, flow, flow_inverse, flow_name
from wstar.space import SpaceManifest
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

pytestmark = pytest.mark.triton
# Two tries 2 s apart, the golden requests, and a machine that is busy with other tests.
READY_S = 20.0
CALLERS = 3
SHARED_MEMORY = Path("/dev/shm")


def manifest_of(space: Space) -> SpaceManifest:
    return SpaceManifest.from_json((DEMO / flow_name(space) / "space.json").read_text(), "file")


FACE = pb.Face(picture=pb.Picture(data=manifest_of(Space.W_STAR).golden.image_png))


class Service:
    """A `wstar-serve` process, and a channel to it."""

    def __init__(self, address: str, channel: grpc.Channel) -> None:
        self.address = address
        self.stub: Any = LatentSpaceServiceStub(channel)
        self._health: Any = health_pb2_grpc.HealthStub(channel)

    def serving(self) -> bool:
        """What its health says."""
        reply = self._health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    def embed(self, faces: int = 1, timeout: float = 30.0) -> pb.EmbedResponse:
        """The golden face through the service."""
        reply: pb.EmbedResponse = self.stub.Embed(
            pb.EmbedRequest(faces=[FACE] * faces), timeout=timeout
        )
        return reply


@contextmanager
def service(triton: TritonProcess) -> Iterator[Service]:
    """Serve a Triton until the block ends, and stop without a traceback."""
    arguments = ["--listen", "127.0.0.1:0", "--threads", "1", "--triton", str(triton.grpc)]
    # A pipe that nobody reads would fill up, and hold up whoever logs.
    with (
        tempfile.TemporaryFile("w+") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "wstar_service", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            never = threading.Timer(STOP_S, process.kill)
            never.start()
            address = process.stdout.readline().strip()
            never.cancel()
            with grpc.insecure_channel(address) as channel:
                yield Service(address, channel)
        finally:
            process.terminate()
            process.wait(STOP_S)
            stderr.seek(0)
            log = stderr.read()
        assert process.returncode == 0, log
        assert "Traceback" not in log


def right(reply: pb.EmbedResponse, expected: dict[str, SpaceManifest]) -> str:
    """Whether a reply is the golden answer of the space that it names; return that id."""
    golden = expected[reply.space_id].golden
    for embedding in reply.embeddings:
        found = Code.from_message(embedding.code, "code")
        assert found.space_id == reply.space_id
        difference = np.abs(found.values - golden.w_star).max()
        assert difference <= golden.tolerance * golden.w_star.std()
    return reply.space_id


SERVED = {manifest_of(Space.W_STAR).space_id: manifest_of(Space.W_STAR)}


def refused(running: Service, **arguments: Any) -> str:  # noqa: ANN401
    with pytest.raises(grpc.RpcError) as caught:
        running.embed(**arguments)
    return str(caught.value.code().name)


def test_it_serves_what_triton_runs(triton: TritonProcess) -> None:
    before = triton.counts("encoder")["items"]
    with service(triton) as running:
        assert running.serving()
        right(running.embed(faces=20), SERVED)
        info = running.stub.GetInfo(pb.GetInfoRequest(), timeout=10)
        edits = [pb.AttributeEdit(attribute="Smiling", target_probability=0.9)]
        edited = running.stub.Edit(pb.EditRequest(face=FACE, edits=edits), timeout=30)
    assert info.runner == "Triton 2.51.0"
    assert edited.results[0].picture.startswith(b"\x89PNG")
    assert triton.counts("encoder")["items"] >= before + 20
    assert triton.regions() == []


def test_a_deadline_reaches_triton(triton: TritonProcess) -> None:
    with service(triton) as running:
        for timeout in (0.005, 0.02, 0.05):
            assert refused(running, faces=64, timeout=timeout) == "DEADLINE_EXCEEDED"
        eventually(lambda: triton.waiting("encoder") == 0, 10)
        right(running.embed(), SERVED)


@pytest.mark.slow
def test_a_killed_triton_is_missed_and_found_again(own_triton: TritonProcess) -> None:
    with service(own_triton) as running:
        right(running.embed(), SERVED)
        before = set(SHARED_MEMORY.iterdir())
        assert own_triton.kill() == 1
        # A killed server leaves its backends and their shared memory; who started it does not.
        eventually(lambda: not own_triton.backends(), READY_S)
        assert len(before) - len(set(SHARED_MEMORY.iterdir())) == len(own_triton.answered)
        # Nobody calls: the service looks for itself.
        eventually(lambda: not running.serving(), READY_S)
        assert refused(running) == "UNAVAILABLE"
        own_triton.start()
        eventually(running.serving, READY_S)
        right(running.embed(), SERVED)
        own_triton.kill()
        # Whoever calls first is told, and so is the health check after him.
        assert refused(running) == "UNAVAILABLE"
        assert not running.serving()
    own_triton.start()


def test_a_dead_backend_of_a_triton_that_says_ready_is_missed(own_triton: TritonProcess) -> None:
    with service(own_triton) as running:
        right(running.embed(), SERVED)
        own_triton.kill_backend("flow")
        assert refused(running) == "UNAVAILABLE"
        eventually(lambda: not running.serving(), READY_S)
        own_triton.unload("flow")
        own_triton.load("flow")
        eventually(running.serving, READY_S)
        right(running.embed(), SERVED)


def second_version(repository: Path) -> SpaceManifest:
    """Version 2 of the space W_STAR: the graphs of W_PLUS, under a new id."""
    for graph in (flow, flow_inverse, classifiers):
        source, target = (graph(space, 64).name for space in (Space.W_PLUS, Space.W_STAR))
        shutil.copytree(repository / source / "1", repository / target / "2")
    manifest = replace(manifest_of(Space.W_PLUS), space=Space.W_STAR, space_id="w_star-second")
    path = repository / flow_name(Space.W_STAR) / "configs/cpu.pbtxt"
    value = f"string_value: {json.dumps(manifest.to_json())}"
    text, changes = re.subn(r'string_value: "\{.*\}"', lambda _: value, path.read_text())
    assert changes == 1
    path.write_text(text)
    return manifest


def test_a_new_version_under_traffic_gives_no_wrong_answer(own_triton: TritonProcess) -> None:
    found: list[tuple[float, str]] = []
    done = asyncio.Event()

    async def caller(stub: Any, expected: dict[str, SpaceManifest]) -> None:  # noqa: ANN401
        while not done.is_set():
            try:
                reply = await stub.Embed(pb.EmbedRequest(faces=[FACE]), timeout=10)
                answer = right(reply, expected)
            except grpc.aio.AioRpcError as error:
                answer = error.code().name
                await asyncio.sleep(0.02)
            found.append((time.monotonic(), answer))

    async def scenario(running: Service, second: SpaceManifest) -> None:
        async with grpc.aio.insecure_channel(running.address) as channel:
            stub = LatentSpaceServiceStub(channel)
            expected = {**SERVED, second.space_id: second}
            callers = [asyncio.ensure_future(caller(stub, expected)) for _ in range(CALLERS)]
            await asyncio.sleep(0.3)
            for graph in ("flow_inverse", "classifiers", "flow"):
                await asyncio.to_thread(own_triton.load, graph)
            ends = time.monotonic() + READY_S
            while time.monotonic() < ends and second.space_id not in {a for _, a in found}:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            done.set()
            await asyncio.gather(*callers)

    with service(own_triton) as running:
        second = second_version(own_triton.repository)
        asyncio.run(scenario(running, second))
    (first_id,) = SERVED
    answers = [answer for _, answer in found]
    # A request that Triton takes just before it lets a version go may wait until its deadline.
    codes = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
    assert {first_id, second.space_id} <= set(answers) <= {first_id, second.space_id} | codes
    assert answers.count("DEADLINE_EXCEEDED") <= CALLERS
    # One change from the first to the second, with an interruption between them.
    refusals = [at for at, answer in found if answer == "UNAVAILABLE"]
    assert refusals and max(refusals) - min(refusals) < READY_S
    assert answers.index(second.space_id) > len(answers) - answers[::-1].index(first_id) - 1


def test_a_graceful_stop_answers_what_is_under_way(tmp_path: Path) -> None:
    server = TritonProcess(DEMO, tmp_path / "log")
    with service(server) as running:
        calls = [
            running.stub.Embed.future(pb.EmbedRequest(faces=[FACE] * 16), timeout=30)
            for _ in range(4)
        ]
        eventually(lambda: server.counts("encoder")["items"] > 0, 10)
        assert server.stop(signal.SIGINT) == 0
        codes = {call.code().name for call in calls}
        eventually(lambda: not running.serving(), READY_S)
    assert codes <= {"OK", "UNAVAILABLE"}
    for call in calls:
        if call.code() is grpc.StatusCode.OK:
            right(call.result(), SERVED)
