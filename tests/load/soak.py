"""Mixed load for minutes: `python -m tests.load.soak --minutes 15 --runner embedded|triton`.

Every answer is compared with one computed alone before. Afterwards the server must hold no more
threads, tasks or work than before, and its memory must not have grown. Triton's backends first run
the largest batch there is: ONNX Runtime keeps what its largest run so far took. Exit 1 on any
violation.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from tests.load.load import WORKERS, Caller, Tally
from tests.load.soak_answers import BOUNDS
from tests.load.soak_cases import Case, all_cases
from tests.load.soak_watch import SAMPLE_S, Memory, Served, served, settled
from tests.service.triton_process import ENVIRONMENTS, TritonProcess

from wstar.graphs import graphs
from wstar_service.triton import TritonRunner

WARM_S = 180.0
# Of a run too short for the whole warm-up, whose memory is shown and not judged.
_WARM_SHARE = 0.4
_LEAST_JUDGED_S = 2 * WARM_S
_SETTLE_S = 30.0
_LINE_S = 0.5
# gRPC's own pool comes and goes by a few; a leak is one thread per call or stream.
MORE_THREADS = 4


@dataclass
class Soak:
    """One run: what it does and what it saw."""

    server: Served
    cases: Sequence[Case]
    run_s: float
    seed: int
    tally: Tally = field(default_factory=Tally)
    memory: Memory = field(default_factory=Memory)
    idle_tasks: float = 0.0
    warm_threads: int = 0
    ended_s: float = 0.0
    interrupted: bool = False

    @property
    def warm_s(self) -> float:
        """How long caches, pools and heaps may still fill."""
        return min(WARM_S, _WARM_SHARE * self.run_s)

    async def run(self) -> list[str]:
        """Call until the time is over or Ctrl-C; return what is left behind in the server."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        callers = [
            Caller(self.server.address, self.cases, self.seed + i, self.tally)
            for i in range(WORKERS)
        ]
        try:
            if self.server.triton is not None:
                await _run_largest_batches(self.server.triton)
            (info,) = (case for case in self.cases if case.method == "GetInfo")
            for caller in callers:
                await caller.call(info)
            # The gauge is written every second.
            await asyncio.sleep(2.5)
            self.idle_tasks = self.server.gauge("wstar_event_loop_tasks")
            started = time.monotonic()
            watching = asyncio.ensure_future(self._watch(started))
            ends = started + self.run_s
            await asyncio.gather(
                *(
                    caller.call_all(lambda: not self.interrupted and time.monotonic() < ends)
                    for caller in callers
                )
            )
            self.ended_s = time.monotonic() - started
            watching.cancel()
            return list(await asyncio.to_thread(settled, self._left, _SETTLE_S))
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            for caller in callers:
                await caller.close()

    def _interrupt(self) -> None:
        self.interrupted = True

    async def _watch(self, started: float) -> None:
        processes = self.server.processes()
        due = 0.0
        while True:
            second = time.monotonic() - started
            if second >= due:
                self.memory.sample(second, processes)
                due += SAMPLE_S
                if second < self.warm_s:
                    self.warm_threads = max(self.warm_threads, self.server.threads())
            if sys.stderr.isatty():
                print(f"\r{self._line(second)}\033[K", end="", file=sys.stderr, flush=True)
            await asyncio.sleep(_LINE_S)

    def _line(self, second: float) -> str:
        mib = self.memory.mib["service"][-1]
        return (
            f"{second:5.0f} of {self.run_s:.0f} s  {self.tally.done()} calls  "
            f"{self.tally.wrong.total()} wrong  service {mib:.0f} MiB"
        )

    def _left(self) -> list[str]:
        found = list(self.server.gone())
        for name in ("wstar_queue_depth", "wstar_in_flight_calls", "wstar_open_streams"):
            value = self.server.gauge(name)
            if value != 0:
                found.append(f"{name} is {value:g} after the load")
        tasks = self.server.gauge("wstar_event_loop_tasks")
        if tasks > self.idle_tasks:
            found.append(f"{tasks:g} tasks after the load, {self.idle_tasks:g} before")
        threads = self.server.threads()
        if threads > self.warm_threads + MORE_THREADS:
            found.append(f"{threads} threads after the load, {self.warm_threads} at warm-up")
        return found


async def _run_largest_batches(triton: TritonProcess) -> None:
    runner = await TritonRunner.open(triton.grpc, shared_memory=False)
    manifest = next(iter((await runner.manifests()).values()))
    for spec in graphs(manifest.resolution, manifest.encoder_side):
        zeros = {t.name: np.zeros((spec.max_batch, *t.shape), t.dtype) for t in spec.inputs}
        await runner.run(spec.name, **zeros)
    await runner.close()


def report(soak: Soak, left: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the report, then the violations."""
    tally = soak.tally
    yield f"{'method':12} {'status':20} {'calls':>8} {'p50 ms':>9} {'p99 ms':>9} {'max ms':>9}"
    for (method, status), times in sorted(tally.times.items()):
        yield (
            f"{method:12} {status:20} {times.count:8d} {times.quantile_ms(0.5):9.2f} "
            f"{times.quantile_ms(0.99):9.2f} {times.largest_ms:9.2f}"
        )
    yield (
        f"{tally.done()} calls in {soak.ended_s:.0f} s, {tally.compared} answers compared, "
        f"{tally.given_up} calls given up, {tally.wrong.total()} wrong"
    )
    yield f"\n{'largest deviation from the answer alone':40} {'seen':>10} {'allowed':>10}"
    for kind, seen in tally.deviations.largest.items():
        yield f"{kind:40} {seen:10.2g} {BOUNDS[kind]:10.2g}"
    yield f"\n{'resident memory':28} {'first MiB':>10} {'last MiB':>10} {'MiB/h':>10}"
    for name, first, last, slope, flat in soak.memory.rows(soak.warm_s, soak.ended_s):
        end = "" if flat else "  grows"
        yield f"{name:28} {first:10.1f} {last:10.1f} {slope:+10.1f}{end}"
    judged = "judged" if _judged(soak) else f"not judged before {_LEAST_JUDGED_S / 60:g} minutes"
    yield f"(first: after {soak.warm_s:.0f} s of warm-up; slope {judged})"
    yield (
        f"threads of the service: {soak.warm_threads} at warm-up, {soak.server.threads()} after; "
        f"tasks: {soak.idle_tasks:g} idle before, "
        f"{soak.server.gauge('wstar_event_loop_tasks'):g} after"
    )
    for violation in violations(soak, left):
        yield f"VIOLATION {violation}"


def violations(soak: Soak, left: Sequence[str]) -> list[str]:
    """Say what must not be."""
    wrong = soak.tally.wrong.items()
    found = [f"{count} wrong answers: {text}" for text, count in wrong] + list(left)
    if _judged(soak):
        rows = soak.memory.rows(soak.warm_s, soak.ended_s)
        found += [f"memory of {row[0]} grows by {row[3]:.1f} MiB/h" for row in rows if not row[4]]
    return found


def _judged(soak: Soak) -> bool:
    return soak.ended_s >= _LEAST_JUDGED_S


def main() -> int:
    """Run the soak and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0, help="default: 15")
    parser.add_argument("--runner", choices=("embedded", "triton"), default="embedded")
    parser.add_argument("--seed", type=int, default=0, help="of the requests drawn; default: 0")
    arguments = parser.parse_args()
    missing = [p.name for p in ENVIRONMENTS.values() if not (p / ".installed").is_file()]
    if arguments.runner == "triton" and missing:
        parser.error(
            f"no tritonserver: {' and '.join(missing)} missing (`make test` installs them)"
        )
    cases = asyncio.run(all_cases())
    with served(arguments.runner) as server:
        soak = Soak(server, cases, 60 * arguments.minutes, arguments.seed)
        left = asyncio.run(soak.run())
        if sys.stderr.isatty():
            print(file=sys.stderr)
        print(f"runner {arguments.runner}, {WORKERS} callers at once, seed {arguments.seed}")
        print("\n".join(report(soak, left)))
    if violations(soak, left):
        return 1
    return 130 if soak.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
