"""Mutated pictures through the decoder, in a process of their own that may crash."""

from __future__ import annotations

import signal
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from tests.load.fuzz_mutations import mutated
from tests.load.fuzz_seeds import seeds

from wstar.errors import ImageError, LimitExceeded
from wstar.images import MIN_SIDE_PX, decode

KIND = "pictures decoded"
# The server's defaults.
LIMITS = {"max_bytes": 10 * 2**20, "max_pixels": 4096 * 4096}
# The slowest legal picture that `fuzz_bombs` knows takes half of this.
_SLOW_S = 2.0
_TELL_EVERY = 1000


class News(NamedTuple):
    """What a process found since it last told: outcomes of cases, violations, memory."""

    kind: str
    outcomes: Counter[tuple[str, str]]
    violations: list[tuple[int, str]]
    resident_mib: float


def decoded_case(seed: int, case: int, pictures: Sequence[bytes]) -> bytes:
    """The bytes of one case."""
    return mutated(Random(f"{seed}:{KIND}:{case}"), pictures)


def decode_all(
    seed: int,
    first: int,
    count: int,
    at: Synchronized[int],
    news: Queue[News],
) -> None:
    """Decode cases `first` to `first + count`; `at` holds the number of the one under way."""
    # Ctrl-C is for the process that tells what was found so far.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("error")
    pictures = list(seeds().values())
    outcomes: Counter[tuple[str, str]] = Counter()
    violations: list[tuple[int, str]] = []
    for case in range(first, first + count):
        at.value = case
        started_s = time.perf_counter()
        outcome, wrong = _decoded(decoded_case(seed, case, pictures))
        if time.perf_counter() - started_s > _SLOW_S:
            wrong = f"took {time.perf_counter() - started_s:.1f} s"
        outcomes[KIND, outcome] += 1
        if wrong is not None:
            violations.append((case, wrong))
        if (case - first + 1) % _TELL_EVERY == 0 or case == first + count - 1:
            news.put(News(KIND, outcomes, violations, resident_mib()))
            outcomes, violations = Counter(), []


def _decoded(data: bytes) -> tuple[str, str | None]:
    """Return the outcome and what is wrong with it."""
    try:
        rgb = decode(data, **LIMITS)
    except (ImageError, LimitExceeded) as error:
        return type(error).__name__, None
    except Exception as error:
        return type(error).__name__, f"{type(error).__name__}: {error}"
    height, width = rgb.shape[:2]
    if rgb.dtype != np.uint8 or rgb.shape != (height, width, 3):
        return "decoded", f"{rgb.dtype} {rgb.shape}"
    if min(height, width) < MIN_SIDE_PX or height * width > LIMITS["max_pixels"]:
        return "decoded", f"{width} x {height} px"
    return "decoded", None


def resident_mib() -> float:
    """Memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
