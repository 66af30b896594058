"""Callers beyond the places wait in a bounded queue, and leave it when they give up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.service.conftest import GRAPHS, FakeRunner, Running, World

from wstar.errors import Overloaded
from wstar.remote import error_of_call
from wstar.v1 import wstar_pb2 as pb
from wstar_service.batcher import Batcher
from wstar_service.metrics import Metrics
from wstar_service.runner import Array

# A machine that is busy with other tests.
PATIENCE_S = 10.0


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.005)


def depth(metrics: Metrics, queue: str = "calls") -> float:
    found = metrics.registry.get_sample_value("wstar_queue_depth", {"queue": queue})
    assert found is not None
    return found


@asynccontextmanager
async def full(
    world: World,
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[Running, Any]]:
    """A server with its one place taken; the block ends without a task that was not there."""
    async with world.serving(max_concurrency=1, **settings) as running:
        before = len(asyncio.all_tasks())
        running.runner.gate.clear()
        running.runner.entered.clear()
        metadata = (("authorization", "Bearer " + 16 * "a"),)
        # A fresh picture each: nothing is to be answered from memory.
        first = running.stub.Embed(pb.EmbedRequest(faces=[world.face(9)]), metadata=metadata)
        await running.runner.entered.wait()
        yield running, first
        running.runner.gate.set()
        with suppress(grpc.aio.AioRpcError):
            await first
        assert depth(running.server.metrics) == 0
        # The tasks of calls on both sides end a moment after the reply.
        await until(lambda: len(asyncio.all_tasks()) <= before)


@pytest.mark.parametrize("leave", ["deadline", "cancel"])
def test_who_gives_up_leaves_the_queue_and_is_never_worked_on(world: World, leave: str) -> None:
    async def scenario() -> list[tuple[str, int]]:
        async with full(world, max_queue=1) as (running, first):
            metrics = running.server.metrics
            late = 0.2 if leave == "deadline" else None
            second = running.stub.Embed(pb.EmbedRequest(faces=[world.face()] * 2), timeout=late)
            await asyncio.sleep(0)
            await until(lambda: depth(metrics) == 1)
            if late is None:
                second.cancel()
            code = await second.code()
            assert code.name == {"deadline": "DEADLINE_EXCEEDED", "cancel": "CANCELLED"}[leave]
            await until(lambda: depth(metrics) == 0)
            # His place in the queue is free for another.
            third = running.stub.Embed(pb.EmbedRequest(faces=[world.face()] * 3))
            await asyncio.sleep(0)
            await until(lambda: depth(metrics) == 1)
            running.runner.gate.set()
            await asyncio.gather(first, third)
            return running.runner.calls

    assert {faces for _, faces in asyncio.run(scenario())} == {1, 3}


def test_who_finds_the_queue_full_is_told_at_once_when_to_return(world: World) -> None:
    async def scenario() -> tuple[grpc.aio.AioRpcError, float]:
        async with full(world, max_queue=1) as (running, _):
            second = running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            await asyncio.sleep(0)
            await until(lambda: depth(running.server.metrics) == 1)
            started = asyncio.get_running_loop().time()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            took_s = asyncio.get_running_loop().time() - started
            running.runner.gate.set()
            await second
            return caught.value, took_s

    error, took_s = asyncio.run(scenario())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailers: Any = error.trailing_metadata()
    assert dict(trailers)["grpc-retry-pushback-ms"] == "500"
    told = error_of_call(error, "here")  # type: ignore[arg-type]
    assert isinstance(told, Overloaded)
    assert told.retry_after_s == 0.5
    assert took_s < 0.5  # Without waiting for the place: it is taken as long as the test wants.


def test_one_token_cannot_take_every_place(world: World, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"one {16 * 'a'}\ntwo {16 * 'b'}\n")

    def bearer(letter: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {16 * letter}"),)

    async def scenario() -> str:
        bounds = {"max_queue": 4, "max_concurrency_per_token": 2, "tokens": tokens}
        async with full(world, **bounds) as (running, first):
            request = pb.EmbedRequest(faces=[world.face()])
            waiting = running.stub.Embed(request, metadata=bearer("a"))
            await asyncio.sleep(0)
            await until(lambda: depth(running.server.metrics) == 1)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.stub.Embed(request, metadata=bearer("a"))
            other = running.stub.Embed(request, metadata=bearer("b"))
            await asyncio.sleep(0)
            await until(lambda: depth(running.server.metrics) == 2)
            running.runner.gate.set()
            await asyncio.gather(first, waiting, other)
            await running.stub.Embed(request, metadata=bearer("a"))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            return str(caught.value.details())

    assert "2 calls at once for one token" in asyncio.run(scenario())


class Queued(FakeRunner):
    """The world behind the queue of an engine, which can be held up."""

    def __init__(self, world: World, metrics: Metrics) -> None:
        super().__init__(world)
        self.held = threading.Event()
        self.held.set()
        self.batcher = Batcher(self._execute, dict.fromkeys(GRAPHS, 64), observer=metrics)

    async def run(self, *graphs: str, **arrays: Array) -> dict[str, Array]:
        """Queue."""
        return await self.batcher.run(graphs, arrays)

    def _execute(self, graph: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        self.held.wait()
        self.calls.append((graph, len(next(iter(arrays.values())))))
        return self._compute(graph, arrays)


def test_who_gives_up_leaves_the_engine_s_queue(world: World) -> None:
    async def scenario() -> list[tuple[str, int]]:
        metrics = Metrics()
        runner = Queued(world, metrics)
        try:
            async with world.serving(runner) as running:
                runner.held.clear()
                first = running.stub.Embed(pb.EmbedRequest(faces=[world.face(9)]))
                await asyncio.sleep(0)
                await until(
                    lambda: (
                        running.server.metrics.registry.get_sample_value("wstar_in_flight_calls")
                        == 1
                    )
                )
                second = pb.EmbedRequest(faces=[world.face()] * 2)
                late = running.stub.Embed(second, timeout=0.3)
                await asyncio.sleep(0)
                await until(lambda: depth(metrics, "graphs") == 2)
                assert await late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                await until(lambda: depth(metrics, "graphs") == 0)
                runner.held.set()
                await first
                return runner.calls
        finally:
            runner.held.set()
            await runner.batcher.close()

    assert {faces for _, faces in asyncio.run(scenario())} == {1}
