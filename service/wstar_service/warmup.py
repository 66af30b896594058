"""The first run at full size, before the first caller could pay for it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wstar.graphs import Space
from wstar.space import SpaceManifest, agreed_graphs
from wstar_service.contract import part_size
from wstar_service.runner import GraphRunner


async def warm_up(runner: GraphRunner, manifests: Mapping[Space, SpaceManifest]) -> None:
    """Run every graph served once on zeros, as many as run at once.

    An engine allocates, and chooses its kernels, at the first batch of a size; this one needs
    the most of it.

    Raises
    ------
    RunnerUnavailable, Overloaded, DeadlineExceeded: the engine failed, or answered too late.
    """
    for spec in agreed_graphs(manifests, "manifest"):
        if spec.name in runner.graphs:
            faces = part_size(spec)
            zeros = {t.name: np.zeros((faces, *t.shape), t.dtype) for t in spec.inputs}
            await runner.run(spec.name, **zeros)
