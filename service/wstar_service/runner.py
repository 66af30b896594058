"""The seam between the service and whatever runs the graphs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wstar.graphs import Space
from wstar.space import SpaceManifest

Array = NDArray[Any]
Float32 = NDArray[np.float32]

_ends: ContextVar[float | None] = ContextVar("wstar_deadline", default=None)


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Let the runs inside know that nobody waits longer than `seconds`; None for no bound."""
    token = _ends.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.reset(token)


def remaining_s() -> float | None:
    """Return the seconds until the deadline of the work under way, None without one."""
    ends = _ends.get()
    return None if ends is None else ends - time.monotonic()


class Observer(Protocol):
    """Whoever counts what a runner does: the metrics."""

    def ran(self, graph: str, faces: int) -> None:
        """One batch of `faces` faces was run."""

    def waiting(self, change: int) -> None:
        """`change` more (or, negative, fewer) faces wait for the engine."""


class GraphRunner(Protocol):
    """Runs the graphs of `wstar.graphs`; everything above this seam is the same for all runners.

    A runner checks what it serves against the contract before its first run, splits batches
    above a graph's `max_batch`, never blocks the event loop, and does not start work whose task
    was cancelled: that is how a caller's deadline ends work here. One that asks another process
    tells it `remaining_s`, so that it does not start in vain either. It records the seconds of
    each graph, and of waiting for the engine, with `wstar_service.stages`.
    """

    @property
    def description(self) -> str:
        """Engine and version, as `GetInfo` shows it."""

    @property
    def graphs(self) -> frozenset[str]:
        """Names of the graphs served: all of the contract, but perhaps not `generator`."""

    async def manifests(self) -> Mapping[Space, SpaceManifest]:
        """Return the manifest of each space served, the same as long as the runner lives."""

    async def run(self, *graphs: str, **arrays: Array) -> dict[str, Array]:
        """Run graphs on named inputs (B, ...), B at least 1; return their named outputs (B, ...).

        Each further graph takes the outputs of the one before as its inputs: asked for together,
        they need not wait for the caller in between.

        Raises
        ------
        RunnerUnavailable: the engine cannot be reached or failed.
        Overloaded, DeadlineExceeded: the engine's queue is full, or would answer too late.
        """

    async def lost(self) -> str:
        """Return, saying why, when the graphs are no longer those that were checked."""

    async def close(self) -> None:
        """Let go of threads and connections; no run may follow."""
