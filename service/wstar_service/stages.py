"""Where the time of a piece of work goes: stages by name, for timings, metrics and spans alike.

Stages are `decode`, `queue`, each graph by its name, and `encode`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

DECODE = "decode"
QUEUE = "queue"
ENCODE = "encode"


class Stage(NamedTuple):
    """One stretch of time, in seconds of `time.monotonic`."""

    name: str
    started_s: float
    ended_s: float


@dataclass
class Stages:
    """The stages of one piece of work, in the order they ended."""

    all: list[Stage] = field(default_factory=list)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage, summed by name."""
        found: dict[str, float] = {}
        for name, started, ended in self.all:
            found[name] = found.get(name, 0.0) + ended - started
        return found


_current: ContextVar[Stages | None] = ContextVar("wstar_stages", default=None)


@contextmanager
def collected() -> Iterator[Stages]:
    """Collect the stages recorded inside, by this task and those it starts."""
    stages = Stages()
    token = _current.set(stages)
    try:
        yield stages
    finally:
        _current.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Record the time inside as the stage `name`, however it ends."""
    started = time.monotonic()
    try:
        yield
    finally:
        record(name, started, time.monotonic())


def record(name: str, started_s: float, ended_s: float) -> None:
    """Record one stage, in seconds of `time.monotonic`; nothing where nobody collects."""
    stages = _current.get()
    if stages is not None:
        stages.all.append(Stage(name, started_s, ended_s))
