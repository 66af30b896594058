"""Sends cases to the server over several connections, in a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from multiprocessing.queues import Queue
from random import Random

import grpc
from tests.load.fuzz_decode import News, resident_mib
from tests.load.fuzz_messages import Case, World, message_case, picture_case
from tests.load.fuzz_seeds import saved, seeds, smooth
from tests.load.fuzz_server import MAX_MESSAGE_BYTES, Connection

from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

KIND = "sent"
_CONNECTIONS, _AT_ONCE = 4, 24
_TELL_EVERY = 200
# One case in so many is a mutated picture; one in 500 is above the message limit.
_PICTURE_EVERY, _LARGE_EVERY = 6, 500


def world_of(address: str) -> World:
    """Ask a server what it serves, so that requests can be nearly right."""
    with grpc.insecure_channel(address) as channel:
        info = LatentSpaceServiceStub(channel).GetInfo(pb.GetInfoRequest(), timeout=30)
    side = info.encoder_side
    return World(
        list(info.attributes),
        {space.space: space.space_id for space in info.spaces},
        info.n,
        info.limits.max_batch,
        saved(smooth(side, side), "PNG"),
        list(seeds().values()),
    )


def sent_case(seed: int, case: int, world: World) -> Case:
    """The requests of one case."""
    random = Random(f"{seed}:{KIND}:{case}")
    if case % _LARGE_EVERY == 0:
        return Case("messages too large", "Embed", (bytes(MAX_MESSAGE_BYTES + 1),))
    if case % _PICTURE_EVERY == 0:
        return picture_case(random, world)
    return message_case(random, world)


def send_all(
    seed: int, first: int, count: int, world: World, address: str, news: Queue[News]
) -> None:
    """Send cases `first` to `first + count` and judge the answers."""
    # Ctrl-C is for the process that tells what was found so far.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_send_all(seed, first, count, world, address, news))


async def _send_all(
    seed: int, first: int, count: int, world: World, address: str, news: Queue[News]
) -> None:
    connections = [Connection.open(address) for _ in range(_CONNECTIONS)]
    cases = iter(range(first, first + count))
    found = News(KIND, Counter(), [], 0.0)

    def tell() -> None:
        nonlocal found
        news.put(found._replace(resident_mib=resident_mib()))
        found = News(KIND, Counter(), [], 0.0)

    async def send(cases: Iterator[int], connection: Connection) -> None:
        for number in cases:
            case = sent_case(seed, number, world)
            outcome, wrong = await connection.ask(case)
            found.outcomes[f"{case.kind} {case.method}", outcome] += 1
            if wrong is not None:
                found.violations.append((number, f"{case.method}: {wrong}"))
            if sum(found.outcomes.values()) >= _TELL_EVERY:
                tell()

    await asyncio.gather(*(send(cases, connections[i % _CONNECTIONS]) for i in range(_AT_ONCE)))
    tell()
    for connection in connections:
        await connection.close()
