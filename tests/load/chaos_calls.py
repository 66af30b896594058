"""Callers at once whose every answer is compared, once plainly and once as users call."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tests.load.soak_answers import Deviations, facts
from tests.load.soak_cases import Case

from wstar.async_client import AsyncClient
from wstar.errors import WstarError
from wstar.remote import error_of_call
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

CALLERS = 8
METHODS = ("Embed", "Classify", "Distance", "Edit")
# How calls may end when the server goes: the second is gRPC's word for what it has not begun.
AWAY = frozenset(["UNAVAILABLE", "CANCELLED"])
# A call without a status after so long is lost.
PATIENCE_S = 60.0
_PAUSE_S = 0.1
_STREAM_FACES = 40
_STREAM_SHARE = 0.05
# As `soak_answers.BOUNDS`: other batch sizes sum in another order.
_OF_STD = 1e-5
# Nothing is sent twice, not even what a server refused by GOAWAY before it began.
NOTHING_TWICE = (("grpc.enable_retries", 0),)
# A channel of its own for each caller.
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


@dataclass
class Tally:
    """What came of the calls of one part; `away`: how a server's going ended some."""

    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    away: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    without_retry_info: int = 0
    last_ok_s: float = 0.0
    deviations: Deviations = field(default_factory=Deviations)

    @property
    def done(self) -> int:
        """Calls that ended."""
        return self.statuses.total()

    def refused(self, error: grpc.aio.AioRpcError) -> None:
        """Count a call that ended with an error."""
        code = error.code().name
        self.statuses[code] += 1
        told = error_of_call(error, "here")  # type: ignore[arg-type]
        self.without_retry_info += "retry_after_s" not in vars(told)
        text = f"{code}: {str(error.details())[:150]}"
        if code in AWAY:
            self.away[text] += 1
        else:
            self.faults[text] += 1

    def answered(self, wrong: str | None) -> None:
        """Count a call that was answered, and what is wrong with the answer."""
        self.statuses["OK"] += 1
        self.last_ok_s = asyncio.get_running_loop().time()
        if wrong is not None:
            self.wrong += 1
            self.faults[wrong[:200]] += 1


Goes = Callable[[], bool]


async def call_plainly(
    address: str,
    cases: Sequence[Case],
    seed: int,
    tally: Tally,
    goes_on: Goes,
    options: Sequence[tuple[str, int]] = (),
) -> None:
    """Call one after another over one connection, with gRPC's defaults: no call is retried that a
    server has begun. `options` are of the channel.
    """
    rng = np.random.default_rng(seed)
    async with grpc.aio.insecure_channel(address, options=(*_OPTIONS, *options)) as channel:
        stub: Any = LatentSpaceServiceStub(channel)
        while goes_on():
            case = cases[int(rng.integers(len(cases)))]
            try:
                method = getattr(stub, case.method)
                reply = await method(case.requests[0], timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                tally.refused(error)
                # Refusals come at once; without a pause they would be all that is counted.
                await asyncio.sleep(_PAUSE_S)
            else:
                assert not isinstance(case.expected, str)
                tally.answered(tally.deviations.wrong(facts(reply), case.expected))


@dataclass(frozen=True)
class Reference:
    """What the client says of some pictures while nothing happens to the server."""

    pictures: Sequence[bytes]
    codes: Sequence[Any]
    logits: Sequence[Any]
    distances: Sequence[float]
    edited: Sequence[Any]


async def reference(address: str, pictures: Sequence[bytes]) -> Reference:
    """Ask for everything once, one face at a time."""
    async with AsyncClient(address) as client:
        codes = [await _code(client, picture) for picture in pictures]
        logits = [await _logits(client, picture) for picture in pictures]
        distances = [
            await _distance(client, picture, pictures[i - 1]) for i, picture in enumerate(pictures)
        ]
        edited = [await _edited(client, picture) for picture in pictures]
    return Reference(pictures, codes, logits, distances, edited)


async def call_as_users_do(
    address: str, known: Reference, seed: int, tally: Tally, goes_on: Goes
) -> None:
    """Call one after another with `AsyncClient`, which retries; some calls are streams."""
    rng = np.random.default_rng(seed)
    async with AsyncClient(address, timeout_s=PATIENCE_S) as client:
        while goes_on():
            i = int(rng.integers(len(known.pictures)))
            picture, before = known.pictures[i], known.pictures[i - 1]
            name = "EmbedStream" if rng.random() < _STREAM_SHARE else METHODS[int(rng.integers(4))]
            try:
                if name == "EmbedStream":
                    wrong = await _streamed(client, known)
                elif name == "Embed":
                    wrong = _far(await _code(client, picture), known.codes[i])
                elif name == "Classify":
                    wrong = _far(await _logits(client, picture), known.logits[i])
                elif name == "Distance":
                    found = await _distance(client, picture, before)
                    wrong = None if abs(found / known.distances[i] - 1) <= _OF_STD else "distance"
                else:
                    wrong = _far(await _edited(client, picture), known.edited[i])
            except WstarError as error:
                tally.statuses[type(error).__name__] += 1
                tally.faults[f"{name}: {type(error).__name__}: {str(error)[:150]}"] += 1
            else:
                tally.answered(wrong and f"{name}: {wrong}")


async def _streamed(client: AsyncClient, known: Reference) -> str | None:
    count = len(known.pictures)
    faces = [(i, known.pictures[i % count]) for i in range(_STREAM_FACES)]
    seen = set()
    async with aclosing(client.embed_stream(faces)) as items:
        async for item in items:
            if item.error is not None:
                raise item.error
            if item.id in seen:
                return f"face {item.id} was answered twice"
            seen.add(item.id)
            assert item.embedding is not None
            if wrong := _far(item.embedding.code.values, known.codes[item.id % count]):
                return wrong
    return None if len(seen) == _STREAM_FACES else f"{len(seen)} of {_STREAM_FACES} answers"


async def _code(client: AsyncClient, picture: bytes) -> Any:  # noqa: ANN401
    return (await client.embed(picture))[0].code.values


async def _logits(client: AsyncClient, picture: bytes) -> Any:  # noqa: ANN401
    return (await client.classify(picture))[0].logits


async def _distance(client: AsyncClient, a: bytes, b: bytes) -> float:
    return float((await client.distance(a, b)).squared_distance[0])


async def _edited(client: AsyncClient, picture: bytes) -> Any:  # noqa: ANN401
    return (await client.edit(picture, targets={"Smiling": 0.9})).results[0].code.values


def _far(found: Any, expected: Any) -> str | None:  # noqa: ANN401
    deviation = np.abs(found - expected).max() / np.std(expected)
    return None if deviation <= _OF_STD else f"{deviation:.2g} standard deviations off"
