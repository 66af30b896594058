"""Servers replaced in turn behind a balancer, under load: `python -m tests.load.rollout`.

Probes, preStop and grace period are those of the rendered manifest. No call may fail, no answer may
be wrong, and every server must end by itself, with exit code 0. Exit 1 on any violation.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy import manifests
from tests.load import balancer, lifecycle
from tests.load.chaos_calls import CALLERS, Tally, call_as_users_do, call_plainly, reference
from tests.load.lifecycle import Lifecycle
from tests.load.pods import PROPAGATION_S, Pods
from tests.load.soak_cases import Case, all_cases

CALLS = 10_000
SERVERS = 2
_PICTURES = 12
_SAMPLES = Path(__file__).resolve().parents[2] / "service/wstar_service/demo/pictures"
# Without streams, which only our client knows how to take up again, and without film strips, which
# would be most of the load.
_PLAIN = ("Embed", "Classify", "Distance")


@dataclass
class Rollout:
    """What came of one: calls by how they ended, and the seconds of starts and stops.

    refused: connections of the balancer to a server that was gone; some clients' retries hide them.
    """

    kept: Lifecycle
    tally: Tally = field(default_factory=Tally)
    start_s: Sequence[float] = ()
    stop_s: Sequence[float] = ()
    refused: int = 0
    faults: list[str] = field(default_factory=list)

    def violations(self) -> Iterator[str]:
        """Say what must not be."""
        for text, count in (self.tally.faults + self.tally.away).items():
            yield f"{count} x {text}"
        for status in self.tally.statuses.keys() - {"OK"}:
            yield f"{self.tally.statuses[status]} calls ended with {status}"
        if self.refused:
            yield f"{self.refused} calls were sent to a server that was gone"
        yield from self.faults

    def report(self) -> Iterator[str]:
        """Yield the figures, one a line."""
        calls, good = self.tally.done, self.tally.statuses["OK"]
        yield f"calls {calls}, failed {calls - good}, wrong {self.tally.wrong}"
        yield f"servers replaced {len(self.stop_s)}"
        yield f"from start to ready, at most {max(self.start_s):.1f} s"
        yield (
            f"from deletion to exit, at most {max(self.stop_s):.1f} s "
            f"of {self.kept.termination_s:g} s"
        )


async def _rolled(pods: Pods, replaced: int, calls: int, tally: Tally) -> None:
    """Replace so many servers, the oldest first, and more until there were so many calls.

    Half of the callers use our client, which retries; the others have what gRPC does by itself.
    """
    pictures = [path.read_bytes() for path in sorted(_SAMPLES.glob("*.png"))[:_PICTURES]]
    cases = [case for case in await all_cases() if _plain(case)]
    over = asyncio.Event()
    await asyncio.gather(*(pods.start() for _ in range(SERVERS)))
    await asyncio.sleep(2 * PROPAGATION_S)
    address = pods.balancer.address
    known = await reference(address, pictures)
    callers = []
    for seed in range(0, CALLERS, 2):
        callers.append(call_as_users_do(address, known, seed, tally, lambda: not over.is_set()))
        callers.append(call_plainly(address, cases, seed + 1, tally, lambda: not over.is_set()))
    loading = asyncio.gather(*callers)
    try:
        while len(pods.stop_s) < replaced or tally.done < calls:
            await pods.replace_oldest()
            _tell(f"{len(pods.stop_s)} replaced, {tally.done} of {calls} calls")
    finally:
        over.set()
        await loading


def _plain(case: Case) -> bool:
    return case.method in _PLAIN and not isinstance(case.expected, str)


def _tell(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)


def roll(folder: Path, kept: Lifecycle, replaced: int, calls: int) -> Rollout:
    """Replace at least so many servers under at least so many calls; logs go to the folder."""
    found = Rollout(kept)
    with balancer.balancer(folder) as front:
        pods = Pods(kept, front, folder)
        try:
            asyncio.run(_rolled(pods, replaced, calls, found.tally))
            found.refused = front.refused()
        finally:
            pods.close()
    found.start_s, found.stop_s, found.faults = pods.start_s, pods.stop_s, pods.faults
    return found


def main() -> int:
    """Roll until there were enough calls and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=CALLS, help="at least (default: %(default)s)")
    arguments = parser.parse_args()
    if why := balancer.missing() or manifests.missing():
        parser.error(why)
    with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        found = roll(Path(folder), lifecycle.read(), SERVERS, arguments.calls)
        print("\n".join(found.report()))
        wrong = list(found.violations())
        for violation in wrong:
            print(f"VIOLATION {violation}")
        return 1 if wrong else 0
    return 130


if __name__ == "__main__":
    sys.exit(main())
