"""`wstar-serve` whose event loop is profiled: `python tests/bench/overhead_profile.py FILE ...`.

`table` reads what it wrote: the time of the event loop per call, by whose code it is.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import sys
from collections.abc import Iterator
from pathlib import Path

# By the first part that is found in `file:function`; what waits for events is left out.
_GROUPS = (
    ("select.epoll", ""),
    ("wstar_service", "our code"),
    ("wstar/", "our code"),
    ("protobuf", "protobuf"),
    ("google._upb", "protobuf"),
    ("_pb2", "protobuf"),
    ("SerializeToString", "protobuf"),
    ("FromString", "protobuf"),
    ("ByteSize", "protobuf"),
    ("CopyFrom", "protobuf"),
    ("grpc", "grpc (Python part)"),
    ("prometheus_client", "prometheus_client"),
    ("logging", "logging"),
    ("json/", "logging"),
    # Compiled code without names of its own counts where it is called.
    ("_contextvars.Context", "callbacks: grpc's compiled part"),
    ("asyncio", "asyncio"),
    ("socket", "asyncio"),
    ("numpy", "numpy"),
)
_TOP = 14


def table(path: Path, calls: int) -> Iterator[str]:
    """Yield lines: microseconds per call of each group, then of the largest entries."""
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = pstats.Stats(
        str(path)
    ).stats  # type: ignore[attr-defined]
    entries = sorted(
        (
            (1e6 * own / calls, count / calls, _group(file, name), _shown(file, line, name))
            for (file, line, name), (_, count, own, _, _) in stats.items()
        ),
        reverse=True,
    )
    groups: dict[str, float] = {}
    for own, _, group, _ in entries:
        groups[group] = groups.get(group, 0.0) + own
    groups.pop("", None)
    total = sum(groups.values())
    yield f"{'event loop, by whose code':60} {'us per call':>12} {'share':>7}"
    for group, own in sorted(groups.items(), key=lambda item: -item[1]):
        yield f"{group:60} {own:12.1f} {own / total:7.0%}"
    yield f"{'all (profiling itself makes it slower)':60} {total:12.1f}"
    yield f"\n{'largest entries, own time':60} {'us per call':>12} {'calls':>7}"
    shown = [entry for entry in entries if entry[2]][:_TOP]
    for own, count, group, name in shown:
        yield f"{f'{group}: {name}'[:60]:60} {own:12.1f} {count:7.1f}"


def _group(file: str, name: str) -> str:
    text = f"{file}:{name}"
    return next((group for part, group in _GROUPS if part in text), "other")


def _shown(file: str, line: int, name: str) -> str:
    if file == "~":
        return name
    return f"{Path(file).parent.name}/{Path(file).name}:{line} {name}"


def main() -> int:
    """Serve until stopped, then write the profile."""
    from wstar_service import process  # noqa: F401
    from wstar_service.arguments import read_settings
    from wstar_service.main import run_process
    from wstar_service.pulse import Pulse

    settings = read_settings(sys.argv[2:], os.environ)
    profile = cProfile.Profile()
    code = profile.runcall(run_process, settings, Pulse())
    profile.dump_stats(sys.argv[1])
    return code


if __name__ == "__main__":
    sys.exit(main())
