"""A server whose engine is lost serves nothing until another one is proved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.service.conftest import FakeRunner, World

from wstar.errors import ContractMismatch, RunnerUnavailable
from wstar.graphs import Space
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub
from wstar_service.keeper import Keeper
from wstar_service.runner import remaining_s
from wstar_service.server import Server
from wstar_service.settings import Address, Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wstar.space import SpaceManifest
    from wstar_service.runner import Array


@dataclass
class Renamed(FakeRunner):
    """The same world under another space id, as a retrained T would be."""

    remaining: list[float | None] = field(default_factory=list)
    closed: bool = False

    async def manifests(self) -> Mapping[Space, SpaceManifest]:
        """The manifests of the world, that of W_STAR renamed."""
        found = dict(await super().manifests())
        found[Space.W_STAR] = replace(found[Space.W_STAR], space_id="w_star-second")
        return found

    async def run(self, *graphs: str, **arrays: Array) -> dict[str, Array]:
        """Note how long the caller waits."""
        self.remaining.append(remaining_s())
        return await super().run(*graphs, **arrays)

    async def close(self) -> None:
        """Note it."""
        self.closed = True


async def health(channel: grpc.aio.Channel) -> bool:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    reply = await stub.Check(health_pb2.HealthCheckRequest())
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def kept(
    opened: Callable[[], Awaitable[FakeRunner]], failed: Callable[[], None]
) -> AsyncIterator[tuple[grpc.aio.Channel, asyncio.Queue[None]]]:
    """Keep a server proved; the queue gets an item at each proof."""
    server = Server(Settings(Path(), listen=Address("127.0.0.1", 0), threads=1))
    address = await server.listen()
    keeper = Keeper(server, opened, 0.05, failed)
    proofs: asyncio.Queue[None] = asyncio.Queue()
    keeping = asyncio.ensure_future(keeper.keep(lambda: proofs.put_nowait(None)))
    try:
        async with grpc.aio.insecure_channel(str(address)) as channel:
            yield channel, proofs
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await server.stop()
        await keeper.close()


def test_another_engine_is_proved_before_it_serves(world: World) -> None:
    first, second = Renamed(world), Renamed(world)
    found: list[FakeRunner | Exception] = [
        FakeRunner(world, spoiled={"flow": 1.0}),
        RunnerUnavailable("not there yet"),
        second,
        RunnerUnavailable("not there yet"),
        first,
    ]

    async def opened() -> FakeRunner:
        runner = found.pop()
        if isinstance(runner, Exception):
            raise runner
        return runner

    failures: list[str] = []

    async def scenario() -> None:
        async with kept(opened, lambda: failures.append("proof")) as (channel, proofs):
            stub: Any = LatentSpaceServiceStub(channel)
            request = pb.EmbedRequest(faces=[world.face()])
            await asyncio.wait_for(proofs.get(), 10)
            assert await health(channel)
            # A call that is under way when its engine is lost ends with what it began with.
            first.gate.clear()
            first.entered.clear()
            under_way = asyncio.ensure_future(stub.Embed(request))
            await first.entered.wait()
            first.gone.set()
            await asyncio.wait_for(proofs.get(), 10)
            assert first.closed
            assert await health(channel)
            first.gate.set()
            assert (await under_way).space_id == "w_star-second"
            assert (await stub.Embed(request, timeout=7)).space_id == "w_star-second"
            last = second.remaining[-1]
            assert last is not None
            # gRPC rounds what travels up.
            assert 0 < last < 7.1
            second.gone.set()
            while await health(channel):
                await asyncio.sleep(0.01)
            while not failures:
                await asyncio.sleep(0.01)
            with pytest.raises(grpc.aio.AioRpcError, match="without its engine") as caught:
                await stub.Embed(request)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    asyncio.run(scenario())
    # An engine that does not answer has not failed its proof.
    assert failures == ["proof"]


def test_an_engine_lost_during_its_proof_is_opened_again_at_once(world: World) -> None:
    """Its golden request may go unanswered until a deadline of minutes."""
    mute, second = Renamed(world), Renamed(world)
    mute.gate.clear()
    found: list[FakeRunner] = [second, mute]

    async def opened() -> FakeRunner:
        return found.pop()

    async def scenario() -> None:
        async with kept(opened, lambda: None) as (channel, proofs):
            await asyncio.wait_for(mute.entered.wait(), 10)
            assert not await health(channel)
            mute.gone.set()
            await asyncio.wait_for(proofs.get(), 10)
            assert await health(channel)
            assert mute.closed

    asyncio.run(scenario())


def test_what_cannot_get_better_is_tried_once(world: World) -> None:
    runner, failures = Renamed(world, spoiled={"flow": 1.0}), []

    async def opened() -> FakeRunner:
        return runner

    async def scenario() -> None:
        server = Server(Settings(Path(), listen=Address("127.0.0.1", 0), threads=1))
        await server.listen()
        keeper = Keeper(server, opened, None, lambda: failures.append("proof"))
        with pytest.raises(ContractMismatch):
            await keeper.keep(lambda: None)
        await server.stop()
        await keeper.close()

    asyncio.run(scenario())
    assert runner.closed
    assert failures == ["proof"]
    # Nobody waits for the proof of a repository on disk.
    assert set(runner.remaining) == {None}
