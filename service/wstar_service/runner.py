"""The seam between the service and whatever runs the graphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wstar.graphs import Space
from wstar.space import SpaceManifest

Array = NDArray[Any]
Float32 = NDArray[np.float32]


class GraphRunner(Protocol):
    """Runs the graphs of `wstar.graphs`; everything above this seam is the same for all runners.

    A runner checks what it serves against the contract before its first run, splits batches
    above a graph's `max_batch`, never blocks the event loop, and does not start work whose task
    was cancelled: that is how a caller's deadline reaches it.
    """

    @property
    def description(self) -> str:
        """Engine and version, as `GetInfo` shows it."""

    async def manifests(self) -> Mapping[Space, SpaceManifest]:
        """Return the manifest of each space served.

        Raises ContractMismatch, RunnerUnavailable.
        """

    async def run(self, graph: str, **arrays: Array) -> dict[str, Array]:
        """Run one graph on named inputs (B, ...), B at least 1; return its named outputs (B, ...).

        Raises RunnerUnavailable: the engine cannot be reached or failed.
        """

    async def close(self) -> None:
        """Let go of threads and connections; no run may follow."""
