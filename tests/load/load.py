"""Callers at once who draw requests from a pool, compare every answer and give up on some."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tests.load.soak_answers import Deviations, facts
from tests.load.soak_cases import Case

from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

WORKERS = 8
PATIENCE_S = 60.0
# How many calls are given up, by a deadline or by cancelling, after so many milliseconds.
_GIVEN_UP = 0.08
_GIVE_UP_MS = (0.3, 60.0)
# A stream of 64 faces takes as long as a dozen other calls.
_WEIGHTS = {
    "GetInfo": 0.3,
    "Embed": 1.0,
    "EmbedStream": 0.15,
    "Distance": 1.0,
    "Classify": 1.0,
    "Edit": 0.7,
}
_BUCKET = 1.02
_MOST_WRONG = 20
_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))


class Times:
    """Times in milliseconds in buckets 2 % apart, so that a long run takes no more memory."""

    def __init__(self) -> None:
        self.count, self.largest_ms = 0, 0.0
        self._buckets = np.zeros(1000, np.int64)

    def add(self, ms: float) -> None:
        """Count one time."""
        self.count += 1
        self.largest_ms = max(self.largest_ms, ms)
        self._buckets[min(999, max(0, round(math.log(max(ms, 0.01) / 0.01, _BUCKET))))] += 1

    def quantile_ms(self, share: float) -> float:
        """The time that `share` of all do not exceed, to 2 %."""
        i = int(np.searchsorted(np.cumsum(self._buckets), share * self.count))
        return min(0.01 * _BUCKET**i, self.largest_ms)


@dataclass
class Tally:
    """What came of the calls so far."""

    times: dict[tuple[str, str], Times] = field(default_factory=dict)
    wrong: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    given_up: int = 0
    deviations: Deviations = field(default_factory=Deviations)

    def done(self) -> int:
        """How many calls ended."""
        return sum(times.count for times in self.times.values())

    def add(self, case: Case, status: str, ms: float, fault: str | None) -> None:
        """Count one call."""
        self.times.setdefault((case.method, status), Times()).add(ms)
        if fault is not None:
            # What goes beyond the first kinds is counted together: a long run must not fill up.
            text = f"{case.name}: {fault}"
            self.wrong[text if text in self.wrong or len(self.wrong) < _MOST_WRONG else "more"] += 1


class Caller:
    """One caller, one call at a time.

    Streams go through the other API of grpc: where a server ends a stream while its caller still
    writes, as at a deadline, grpc.aio tells INTERNAL ("Internal error from Core") instead.
    """

    def __init__(self, address: str, cases: Sequence[Case], seed: int, tally: Tally) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub: Any = LatentSpaceServiceStub(self._channel)
        self._streams = grpc.insecure_channel(address, options=_OPTIONS)
        self._stream: Any = LatentSpaceServiceStub(self._streams).EmbedStream
        self._cases = cases
        self._rng = np.random.default_rng(seed)
        self._tally = tally
        methods = [case.method for case in cases]
        wrong = np.array([0.3 if isinstance(case.expected, str) else 1.0 for case in cases])
        weights = np.array([_WEIGHTS[name] / methods.count(name) for name in methods]) * wrong
        self._shares = weights / weights.sum()

    async def close(self) -> None:
        """Disconnect."""
        await self._channel.close(None)
        self._streams.close()

    async def call_all(self, goes_on: Callable[[], bool]) -> None:
        """Call, one after another, as long as it goes on."""
        while goes_on():
            case = self._cases[self._rng.choice(len(self._cases), p=self._shares)]
            await self.call(case, give_up=self._rng.random() < _GIVEN_UP)

    async def call(self, case: Case, *, give_up: bool = False) -> None:
        """Make one call and count what came of it."""
        low, high = np.log(_GIVE_UP_MS)
        patience_s = float(np.exp(self._rng.uniform(low, high))) / 1e3 if give_up else PATIENCE_S
        cancels = give_up and self._rng.random() < 0.5
        started = time.perf_counter()
        try:
            reply = await self._answer(case, patience_s, cancels)
            status = "OK"
        except (grpc.aio.AioRpcError, grpc.RpcError) as error:
            status, reply = error.code().name, error.details()
        except asyncio.CancelledError:
            status, reply = "CANCELLED", None
        ms = 1e3 * (time.perf_counter() - started)
        self._tally.given_up += give_up
        allowed = {"CANCELLED" if cancels else "DEADLINE_EXCEEDED"} if give_up else set()
        fault = None if status in allowed else self._fault(case, status, reply)
        self._tally.add(case, status, ms, fault)

    def _fault(self, case: Case, status: str, reply: Any) -> str | None:  # noqa: ANN401
        expected = case.expected if isinstance(case.expected, str) else "OK"
        if status != expected:
            return f"{status}, expected {expected}: {reply}"
        if isinstance(case.expected, str):
            return None
        self._tally.compared += 1
        return self._tally.deviations.wrong(facts(reply), case.expected)

    async def _answer(self, case: Case, patience_s: float, cancels: bool) -> Any:  # noqa: ANN401
        timeout, cancel_s = (PATIENCE_S, patience_s) if cancels else (patience_s, 2 * PATIENCE_S)
        if case.method == "EmbedStream":
            call = self._stream(iter(case.requests), timeout=timeout)
            work = asyncio.to_thread(list, call)
        else:
            call = getattr(self._stub, case.method)(case.requests[0], timeout=timeout)
            work = _waited(call)
        giving_up = asyncio.get_running_loop().call_later(cancel_s, call.cancel)
        try:
            return await work
        finally:
            giving_up.cancel()


async def _waited(call: Any) -> Any:  # noqa: ANN401
    return await call
