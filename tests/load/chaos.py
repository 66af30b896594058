"""Servers and engines killed, stopped and replaced under load: `python -m tests.load.chaos`.

Three parts: Triton killed and started again; a server stopped while another one takes over; two
servers behind one port, each replaced in turn. Every call must end with a status that tells the
caller what to do, and no answer may be wrong. Exit 1 on any violation.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.load.chaos_calls import (
    AWAY,
    CALLERS,
    METHODS,
    NOTHING_TWICE,
    Tally,
    call_as_users_do,
    call_plainly,
    reference,
)
from tests.load.chaos_instances import Instances, instances
from tests.load.soak_cases import Case, all_cases
from tests.load.soak_watch import Served, resident_mib, served
from tests.service.triton_process import ENVIRONMENTS, TritonProcess, eventually

CALLS = 10_000
KILLS = 10
# Heaps and pools fill during the first of them.
_WARM_KILLS = 3
# Between two moments under load: a batch of pictures more or less on its way.
_MORE_MIB = 16.0
_MORE_THREADS = 4
_LOAD_S = 2.0
_RECOVERY_S = 30.0
# Now and then tritonserver does not start on a busy machine: its backends wait for a lock too long.
_STARTS = 3
_TAKEOVERS = 5
_REPLACED = 6
_PICTURES = 12


@dataclass
class Part:
    """One part: its calls, how often something was taken away from them, and what is wrong."""

    name: str
    tally: Tally = field(default_factory=Tally)
    events: int = 0
    faults: list[str] = field(default_factory=list)

    def tell(self) -> None:
        """Count something that was taken away, on one line of a terminal."""
        self.events += 1
        if sys.stderr.isatty():
            line = f"{self.name}: {self.events}, {self.tally.done} of {CALLS} calls"
            print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)

    def violations(self, failed: frozenset[str]) -> Iterator[str]:
        """Say what must not be; `failed` are the ends of calls that may be."""
        for text, count in self.tally.faults.items():
            yield f"{self.name}: {count} x {text}"
        for status in self.tally.statuses.keys() - {"OK"} - failed:
            yield f"{self.name}: {self.tally.statuses[status]} calls ended with {status}"
        for text in self.faults:
            yield f"{self.name}: {text}"


async def _under_load(
    callers: Sequence[Awaitable[None]], chaos: Awaitable[None], stop: Callable[[], None]
) -> None:
    """Let callers call until the chaos is over, and none of them after that."""
    loading = asyncio.gather(*callers)
    try:
        await chaos
    finally:
        stop()
        await loading


def _started_again(triton: TritonProcess) -> None:
    # Its backends take a moment to be gone.
    eventually(lambda: not triton.backends(), _RECOVERY_S)
    for _ in range(_STARTS - 1):
        with suppress(AssertionError):
            return triton.start()
    triton.start()


async def kill_triton(server: Served, cases: Sequence[Case], part: Part) -> None:
    """Kill Triton and start it again, so many times; the service stays."""
    over, tally, triton = asyncio.Event(), part.tally, server.triton
    assert triton is not None
    await asyncio.sleep(2.5)
    tasks, loop = server.gauge("wstar_event_loop_tasks"), asyncio.get_running_loop()
    held: list[tuple[float, int]] = []

    async def chaos() -> None:
        for _ in range(KILLS):
            await asyncio.sleep(_LOAD_S)
            await asyncio.to_thread(triton.kill)
            killed = time.monotonic()
            await asyncio.to_thread(_started_again, triton)
            started, since = time.monotonic(), loop.time()
            while tally.last_ok_s < since:
                if time.monotonic() - started > _RECOVERY_S:
                    part.faults.append(f"not back {_RECOVERY_S:g} s after Triton")
                    return
                await asyncio.sleep(0.02)
            part.events += 1
            held.append((resident_mib(server.process.pid), server.threads()))
            print(
                f"{part.events:3d} {started - killed:10.1f} {time.monotonic() - started:14.2f} "
                f"{held[-1][0]:9.1f} {held[-1][1]:8d}",
                flush=True,
            )

    print(f"{'':3} {'Triton, s':>10} {'then back, s':>14} {'MiB':>9} {'threads':>8}", flush=True)
    callers = [
        call_plainly(server.address, cases, seed, tally, lambda: not over.is_set(), NOTHING_TWICE)
        for seed in range(CALLERS)
    ]
    await _under_load(callers, chaos(), over.set)
    await asyncio.sleep(2.5)
    part.faults += server.gone()
    after = server.gauge("wstar_event_loop_tasks")
    if after > tasks:
        part.faults.append(f"{after:g} tasks after, {tasks:g} before")
    if tally.without_retry_info:
        part.faults.append(f"{tally.without_retry_info} refusals without RetryInfo")
    warm, end = held[_WARM_KILLS - 1 : _WARM_KILLS], held[-1:]
    for (mib, threads), (last_mib, last_threads) in zip(warm, end, strict=True):
        if last_mib > mib + _MORE_MIB:
            part.faults.append(f"memory grew from {mib:.1f} to {last_mib:.1f} MiB")
        if last_threads > threads + _MORE_THREADS:
            part.faults.append(f"{last_threads} threads, {threads} before")


async def take_over(servers: Instances, cases: Sequence[Case], part: Part) -> None:
    """Start another server on the port and stop the one before, over and over."""
    tally, over = part.tally, asyncio.Event()

    async def chaos() -> None:
        while part.events < _TAKEOVERS or tally.done < CALLS:
            await servers.start()
            await servers.stop_oldest()
            part.tell()

    await servers.start()
    callers = [
        call_plainly(
            str(servers.address), cases, seed, tally, lambda: not over.is_set(), NOTHING_TWICE
        )
        for seed in range(CALLERS)
    ]
    await _under_load(callers, chaos(), over.set)


async def roll(servers: Instances, pictures: Sequence[bytes], part: Part) -> None:
    """Stop one of two servers and start it again, then the other, over and over."""
    tally, over = part.tally, asyncio.Event()

    async def chaos() -> None:
        while part.events < _REPLACED or tally.done < CALLS:
            await servers.stop_oldest()
            await servers.start()
            part.tell()
            await asyncio.sleep(_LOAD_S)

    await servers.start()
    known = await reference(str(servers.address), pictures)
    await servers.start()
    callers = [
        call_as_users_do(str(servers.address), known, seed, tally, lambda: not over.is_set())
        for seed in range(CALLERS)
    ]
    await _under_load(callers, chaos(), over.set)


def report(parts: Sequence[Part]) -> Iterator[str]:
    """Yield the table."""
    columns = ("events", "calls", "OK", "UNAVAILABLE", "CANCELLED", "other", "wrong")
    yield f"{'part':44} " + " ".join(f"{name:>11}" for name in columns)
    for part in parts:
        ends = part.tally.statuses
        good, away, unbegun = (ends[name] for name in ("OK", "UNAVAILABLE", "CANCELLED"))
        other = ends.total() - good - away - unbegun
        row = (part.events, ends.total(), good, away, unbegun, other, part.tally.wrong)
        yield f"{part.name:44} " + " ".join(f"{number:11d}" for number in row)


def main() -> int:
    """Run the parts one after another and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    missing = [p.name for p in ENVIRONMENTS.values() if not (p / ".installed").is_file()]
    if missing:
        parser.error(f"no tritonserver: {' and '.join(missing)} missing (`make` installs them)")
    cases = [
        case
        for case in asyncio.run(all_cases())
        if case.method in METHODS and not isinstance(case.expected, str)
    ]
    pictures = [
        face.picture.data
        for case in cases
        if case.method == "Embed"
        for face in case.requests[0].faces
        if face.HasField("picture")
    ][:_PICTURES]
    killed = Part("Triton killed and started again")
    taken = Part("stopped while another takes over, no retries")
    rolled = Part("two replaced in turn, clients retry")
    parts = (killed, taken, rolled)
    try:
        with served("triton") as server:
            asyncio.run(kill_triton(server, cases, killed))
        with tempfile.TemporaryDirectory() as folder, instances(Path(folder)) as servers:
            asyncio.run(take_over(servers, cases, taken))
        taken.faults += servers.faults
        with tempfile.TemporaryDirectory() as folder, instances(Path(folder)) as servers:
            asyncio.run(roll(servers, pictures, rolled))
        rolled.faults += servers.faults
    except KeyboardInterrupt:
        return 130
    print("\n".join(report(parts)))
    # A server that stays has nothing to cancel.
    found_wrong = [*killed.violations(frozenset(["UNAVAILABLE"])), *taken.violations(AWAY)]
    found_wrong += rolled.violations(frozenset())
    for violation in found_wrong:
        print(f"VIOLATION {violation}")
    return 1 if found_wrong else 0


if __name__ == "__main__":
    sys.exit(main())
