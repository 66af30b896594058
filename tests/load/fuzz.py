"""Fuzzes decoder and server: `python -m tests.load.fuzz --cases 100000`; exit 1 on any violation.

Mutated pictures go through `wstar.images.decode` in a process of their own; mutated pictures and
messages go to a real server over several connections. Meanwhile its health is asked for and its
memory read. Then bombs and the slowest legal pictures are timed one by one, as callers see them:
that part needs two quiet cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from queue import Empty
from statistics import median

import grpc
from tests.load import fuzz_bombs, fuzz_decode, fuzz_sender
from tests.load.fuzz_decode import News, decode_all, decoded_case
from tests.load.fuzz_messages import World
from tests.load.fuzz_seeds import seeds
from tests.load.fuzz_sender import send_all, sent_case, world_of
from tests.load.fuzz_server import Served, health_s, serving

# Over tens of thousands of cases: 1 KiB that leaks with each would be seen.
MAX_GROWTH_MIB = 32.0
# Tells glibc to give freed memory back at once, in all processes: what they have, they hold.
_GIVES_BACK = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
MAX_HEALTH_S = 1.0
# Pools of gRPC and of decoding come and go by a few.
MAX_MORE_THREADS = 4
_DECODED_SHARE = 0.6
_LOOK_S = 0.25
# Of the samples of a run, the part after which caches and pools count as warm.
_WARM = 0.25
_HUNG_S = 30.0
_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Report:
    """What was found so far."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    memory_mib: dict[str, list[float]] = field(default_factory=dict)
    threads: list[int] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)

    def done(self) -> int:
        """Cases with an outcome."""
        return sum(self.outcomes.values())

    def growth_mib(self, name: str) -> float:
        """Lowest memory of the last quarter of a run over that of the second, the first warm.

        The lowest, because requests of a million names and pictures of 16 million pixels come and
        go; what leaks never goes.
        """
        found = self.memory_mib.get(name, [])
        quarter = len(found) // 4
        if quarter < 2:
            return 0.0
        return min(found[-quarter:]) - min(found[quarter : 2 * quarter])

    def judge(self) -> None:
        """Add what only the whole run shows."""
        for name in self.memory_mib:
            if self.growth_mib(name) > MAX_GROWTH_MIB:
                self.violations.append(f"{name} grew by {self.growth_mib(name):.0f} MiB")
        warm = self.threads[int(_WARM * len(self.threads)) :]
        if warm and warm[-1] > warm[0] + MAX_MORE_THREADS:
            self.violations.append(f"threads of the server: {warm[0]}, then {warm[-1]}")
        if self.health_s and max(self.health_s) > MAX_HEALTH_S:
            self.violations.append(f"health took {max(self.health_s):.2f} s")

    def show(self) -> None:
        """Print the tables."""
        print(f"\n{'kind':28} {'outcome':32} {'cases':>8}")
        for (kind, outcome), count in sorted(self.outcomes.items()):
            print(f"{kind:28} {outcome:32} {count:8}")
        print(f"{'all':28} {'':32} {self.done():8}\n")
        for name, found in self.memory_mib.items():
            print(
                f"memory of the {name}: {found[0]:.0f} MiB at first, {max(found):.0f} at most, "
                f"{found[-1]:.0f} at last; after warm-up {self.growth_mib(name):+.1f} "
                f"(allowed: {MAX_GROWTH_MIB:.0f})"
            )
        if self.threads:
            print(f"threads of the server: {min(self.threads)} to {max(self.threads)}")
        if self.health_s:
            print(
                f"health meanwhile: {len(self.health_s)} times, median "
                f"{1e3 * median(self.health_s):.1f} ms, at most {1e3 * max(self.health_s):.0f} ms"
            )
        for violation in self.violations[:50]:
            print(f"VIOLATION {violation}")
        print(f"{len(self.violations)} violations")


@dataclass
class Run:
    """One run: its processes, what they tell, and where failing cases go."""

    seed: int
    served: Served
    keep: Path | None
    report: Report
    world: World
    news: Queue[News] = field(default_factory=_SPAWN.Queue)
    at: Synchronized[int] = field(default_factory=lambda: _SPAWN.Value("q", -1))

    def cases(self, first: int, count: int) -> None:
        """Decode and send cases until all have an outcome, or a process is lost."""
        decoded = round(_DECODED_SHARE * count)
        decoder = _SPAWN.Process(
            target=decode_all, args=(self.seed, first, decoded, self.at, self.news)
        )
        sender = _SPAWN.Process(
            target=send_all,
            args=(self.seed, first, count - decoded, self.world, self.served.address, self.news),
        )
        processes: list[BaseProcess] = [decoder, sender]
        for process in processes:
            process.start()
        try:
            self._watch(decoder, processes, count)
        finally:
            for process in processes:
                process.kill()
                process.join()

    def _watch(self, decoder: BaseProcess, processes: list[BaseProcess], count: int) -> None:
        report, served = self.report, self.served
        started_s = told_s = moved_s = time.monotonic()
        last = -1
        with grpc.insecure_channel(served.address) as channel:
            while any(process.is_alive() for process in processes):
                self._read_news()
                report.memory_mib.setdefault("server", []).append(served.resident_mib())
                report.threads.append(served.threads())
                report.health_s.append(health_s(channel))
                if self.at.value != last or not decoder.is_alive():
                    last, moved_s = self.at.value, time.monotonic()
                if time.monotonic() - moved_s > _HUNG_S:
                    self._lost(last, "hangs")
                    return
                if served.process.poll() is not None:
                    report.violations.append(f"the server ended: {served.process.returncode}")
                    return
                if time.monotonic() - told_s > 5:
                    told_s = time.monotonic()
                    rate = report.done() / (told_s - started_s)
                    print(f"{report.done():7} of {count}  {rate:.0f}/s", flush=True)
                time.sleep(_LOOK_S)
        self._read_news()
        if decoder.exitcode:
            self._lost(self.at.value, f"ended the decoding process: {decoder.exitcode}")
        elif any(process.exitcode for process in processes):
            report.violations.append("the sending process failed")

    def _lost(self, case: int, how: str) -> None:
        self._violation(fuzz_decode.KIND, case, how)

    def _read_news(self) -> None:
        while True:
            try:
                news = self.news.get(timeout=0.05)
            except Empty:
                return
            self.report.outcomes += news.outcomes
            self.report.memory_mib.setdefault(f"process of {news.kind}", []).append(
                news.resident_mib
            )
            for case, what in news.violations:
                self._violation(news.kind, case, what)

    def _violation(self, kind: str, case: int, what: str) -> None:
        self.report.violations.append(f"{kind}, case {case}: {what}")
        if self.keep is None:
            return
        self.keep.mkdir(parents=True, exist_ok=True)
        if kind == fuzz_sender.KIND:
            found = sent_case(self.seed, case, self.world)
            for i, request in enumerate(found.requests):
                (self.keep / f"{found.method}-{case}-{i}.bin").write_bytes(request)
        else:
            data = decoded_case(self.seed, case, list(seeds().values()))
            (self.keep / f"picture-{case}.bin").write_bytes(data)


def _load() -> str:
    busy, cores = os.getloadavg()[1], os.cpu_count() or 1
    return f"load {busy:.1f} on {cores} cores (times mean something up to {cores + 2})"


def main() -> int:
    """Run all; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="how many (default: 100000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other cases")
    parser.add_argument("--keep", type=Path, help="folder for the bytes of failing cases")
    options = parser.parse_args()
    usual = dict(os.environ)
    os.environ.update(_GIVES_BACK)
    report = Report()
    started_s = time.monotonic()
    try:
        with serving(os.environ) as served:
            run = Run(options.seed, served, options.keep, report, world_of(served.address))
            run.cases(options.first, options.cases)
            with grpc.insecure_channel(served.address) as channel:
                health_s(channel)
            if served.under_way():
                report.violations.append(f"{served.under_way():g} calls still under way")
            report.violations += [f"log: {line[:300]}" for line in served.faults()[:10]]
        with serving(usual) as served:
            report.violations += fuzz_bombs.timed(served.address)
    except KeyboardInterrupt:
        print("\ninterrupted; so far:")
    except Exception as error:
        report.violations.append(f"{type(error).__name__}: {error}")
    report.judge()
    report.show()
    print(f"seed {options.seed}, {time.monotonic() - started_s:.0f} s, {_load()}")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
