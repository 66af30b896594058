"""`EmbedStream`: order, ids, errors per face, bounds, back-pressure, and how a stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from tests.service.conftest import FakeRunner, Running, World

from wstar.codes import Code
from wstar.errors import RunnerUnavailable
from wstar.graphs import Space
from wstar.remote import error_of_call
from wstar.v1 import wstar_pb2 as pb
from wstar_service.runner import Array

# A machine that is busy with other tests.
PATIENCE_S = 10.0
EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]


def item(world: World, byte: int, name: str | None = None) -> pb.EmbedStreamRequest:
    return pb.EmbedStreamRequest(id=name or str(byte), face=world.face(byte))


def check(world: World, reply: pb.EmbedStreamResponse) -> str:
    """Compare an answer with the world's, its id being the byte of its picture."""
    values = Code.from_message(reply.embedding.code, "code").values
    expected = world.values(float(reply.id), Space.W_STAR)
    # float32 through one division by 255 and one product.
    np.testing.assert_allclose(values, expected, atol=1e-6)
    return reply.id


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.005)


@dataclass
class Counting(FakeRunner):
    """Knows how many runs were under way at once; pictures of the byte 10 wait for `turn`."""

    now: int = 0
    most: int = 0
    turn: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, *graphs: str, **arrays: Array) -> dict[str, Array]:
        """Count, and take long enough for others to come in."""
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.005)
            if graphs[0] == "encoder" and arrays["image"].flat[0] == 10:
                await self.turn.wait()
            return await super().run(*graphs, **arrays)
        finally:
            self.now -= 1


@asynccontextmanager
async def serving(
    world: World,
    runner: FakeRunner,
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[Running]:
    """Serve; in the end no stream is open, and no task is left of those that were."""
    async with world.serving(runner, **settings) as running:
        before = len(asyncio.all_tasks())
        yield running
        metrics = running.server.metrics.registry.get_sample_value
        await until(lambda: metrics("wstar_open_streams") == metrics("wstar_in_flight_calls") == 0)
        await until(lambda: len(asyncio.all_tasks()) <= before)


async def end(call: Any) -> tuple[list[pb.EmbedStreamResponse], grpc.aio.AioRpcError | None]:  # noqa: ANN401
    """Read to the end; return the answers and the error."""
    found: list[pb.EmbedStreamResponse] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while (reply := await call.read()) is not EOF:
                found.append(reply)
    except grpc.aio.AioRpcError as error:
        return found, error
    return found, None


def test_faces_are_answered_as_they_are_done_under_their_ids(world: World) -> None:
    async def scenario() -> list[str]:
        runner = Counting(world)
        async with serving(world, runner) as running:
            call = running.stub.EmbedStream()
            for byte in (10, 20, 30):
                await call.write(item(world, byte))
            found = [check(world, await call.read()) for _ in range(2)]
            runner.turn.set()
            found.append(check(world, await call.read()))
            # The same id again is the caller's business.
            await call.write(item(world, 20))
            await call.done_writing()
            answers, error = await end(call)
            assert error is None
            return found + [check(world, reply) for reply in answers]

    *first, slow, again = asyncio.run(scenario())
    assert (sorted(first), slow, again) == (["20", "30"], "10", "20")


def test_a_wrong_face_is_told_and_the_stream_goes_on(world: World) -> None:
    async def scenario() -> dict[str, pb.EmbedStreamResponse]:
        async with serving(world, FakeRunner(world)) as running:
            wrong = [
                pb.EmbedStreamRequest(id="text", face=pb.Face(picture=pb.Picture(data=b"text"))),
                pb.EmbedStreamRequest(id="none"),
                pb.EmbedStreamRequest(id="space", face=world.face(), space=99),  # type: ignore[arg-type]
                pb.EmbedStreamRequest(id="x" * 500, face=world.face()),
            ]
            sent = [item(world, 10), *wrong, item(world, 20)]
            answers, error = await end(running.stub.EmbedStream(iter(sent)))
            assert error is None
            return {reply.id: reply for reply in answers}

    found = asyncio.run(scenario())
    assert set(found) == {"10", "20", "text", "none", "space", "x" * 128}
    assert check(world, found.pop("10")) and check(world, found.pop("20"))
    invalid = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert {reply.error.code for reply in found.values()} == {invalid}
    assert found["text"].error.reason == "IMAGE_ERROR"
    assert found["text"].error.field == "face.picture.data"
    assert all(reply.error.metadata["request_id"] for reply in found.values())


def test_so_many_at_once_and_no_more(world: World) -> None:
    async def scenario() -> int:
        runner = Counting(world)
        async with serving(world, runner, max_stream_in_flight=3) as running:
            runner.most = 0
            runner.turn.set()
            sent = [item(world, byte) for byte in range(60)]
            answers, error = await end(running.stub.EmbedStream(iter(sent)))
            assert error is None
            assert {check(world, reply) for reply in answers} == {str(n) for n in range(60)}
            return runner.most

    assert asyncio.run(scenario()) == 3


def test_who_does_not_read_is_not_read_from(world: World) -> None:
    count = 2000

    async def scenario() -> float:
        async with serving(world, FakeRunner(world), max_stream_in_flight=4) as running:
            call = running.stub.EmbedStream()

            async def write() -> None:
                for name in range(count):
                    request = pb.EmbedStreamRequest(
                        id=str(name % 250), face=world.code(name % 250), include_w_plus=True
                    )
                    await call.write(request)
                await call.done_writing()

            writing = asyncio.ensure_future(write())

            def answered() -> float:
                labels = {"code": "OK"}
                registry = running.server.metrics.registry
                return registry.get_sample_value("wstar_stream_items_total", labels) or 0.0

            before = -1.0
            while answered() > before:
                before = answered()
                await asyncio.sleep(0.5)
            assert not writing.done()
            answers, error = await end(call)
            await writing
            assert error is None
            assert len([check(world, reply) for reply in answers]) == count
            return before

    # What fits the buffers of one connection: 16 KiB per answer, of which 2000 are 32 MB.
    assert asyncio.run(scenario()) < count / 2


def test_a_deadline_ends_a_stream_and_its_work(world: World) -> None:
    async def scenario() -> tuple[str, list[tuple[str, int]]]:
        async with serving(world, FakeRunner(world)) as running:
            running.runner.gate.clear()
            call = running.stub.EmbedStream(timeout=0.3)
            await call.write(item(world, 10))
            _, error = await end(call)
            assert error is not None
            registry = running.server.metrics.registry
            await until(lambda: registry.get_sample_value("wstar_open_streams") == 0)
            running.runner.gate.set()
            await asyncio.sleep(0.05)
            return error.code().name, running.runner.calls

    assert asyncio.run(scenario()) == ("DEADLINE_EXCEEDED", [])


def test_a_stop_answers_what_was_read_and_ends_the_stream(world: World) -> None:
    async def scenario() -> tuple[list[str], grpc.aio.AioRpcError | None]:
        async with serving(world, FakeRunner(world)) as running:
            running.runner.gate.clear()
            running.runner.entered.clear()
            call = running.stub.EmbedStream()
            for byte in (10, 20):
                await call.write(item(world, byte))
            read = running.server.metrics.registry.get_sample_value
            await until(lambda: read("wstar_open_streams") == 1)
            await running.runner.entered.wait()
            await asyncio.sleep(0.1)  # Both are read: nothing but time tells.
            stopping = asyncio.ensure_future(running.server.stop())
            await asyncio.sleep(0.1)
            running.runner.gate.set()
            answers, error = await end(call)
            await stopping
            return sorted(check(world, reply) for reply in answers), error

    answers, error = asyncio.run(scenario())
    assert answers == ["10", "20"]
    assert error is not None and error.code() is grpc.StatusCode.UNAVAILABLE
    told = error_of_call(error, "here")  # type: ignore[arg-type]
    assert isinstance(told, RunnerUnavailable)
    assert "the server is stopping" in str(told)


def test_a_lost_engine_ends_the_stream(world: World) -> None:
    async def scenario() -> str:
        async with serving(world, FakeRunner(world)) as running:
            call = running.stub.EmbedStream()
            await call.write(item(world, 10))
            check(world, await call.read())
            await running.server.withdraw()
            await call.write(item(world, 20))
            answers, error = await end(call)
            assert answers == [] and error is not None
            return error.code().name

    assert asyncio.run(scenario()) == "UNAVAILABLE"


def test_bytes_that_are_no_message_end_the_stream(world: World) -> None:
    async def scenario() -> tuple[list[bytes], grpc.aio.AioRpcError | None]:
        async with serving(world, FakeRunner(world)) as running:
            channel: Any = running.channel
            call = channel.stream_stream("/wstar.v1.LatentSpaceService/EmbedStream", bytes, bytes)()
            await call.write(item(world, 10).SerializeToString())
            await call.write(b"\xff\xff\xff")
            return await end(call)  # type: ignore[return-value]

    answers, error = asyncio.run(scenario())
    assert check(world, pb.EmbedStreamResponse.FromString(answers[0])) == "10"
    assert error is not None and error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_caller_who_goes_leaves_nothing_behind(world: World) -> None:
    async def scenario() -> None:
        async with serving(world, FakeRunner(world)) as running:
            running.runner.gate.clear()
            for _ in range(20):
                call = running.stub.EmbedStream()
                await call.write(item(world, 10))
                await asyncio.sleep(0.01)
                call.cancel()
            running.runner.gate.set()

    asyncio.run(scenario())


def test_a_caller_who_goes_while_an_answer_waits_for_him_has_cancelled(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Who does not read fills the transport; the answer that then fails is no fault of ours."""

    async def scenario() -> float | None:
        async with serving(world, FakeRunner(world), max_stream_in_flight=4) as running:
            read = running.server.metrics.registry.get_sample_value
            call = running.stub.EmbedStream()

            async def write() -> None:
                while True:
                    await call.write(item(world, 20))

            writing = asyncio.ensure_future(write())
            answered = {"code": "OK"}
            seen = -1.0
            # Until the server stands still: all windows are full.
            while (now := read("wstar_stream_items_total", answered) or 0.0) != seen:
                seen = now
                await asyncio.sleep(0.3)
            call.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            ended = {"method": "EmbedStream", "code": "CANCELLED"}
            name = "wstar_request_duration_seconds_count"
            await until(lambda: read(name, ended) is not None)
            return read(name, ended)

    assert asyncio.run(scenario()) == 1.0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
