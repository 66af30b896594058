"""The golden request: proof that the graphs served are the graphs that were measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from wstar.errors import ContractMismatch
from wstar.graphs import Space, classifiers, flow
from wstar.images import decode
from wstar.space import SpaceManifest
from wstar_service.runner import Float32, GraphRunner

_MAX_BYTES = 64 * 2**20


async def check_golden(runner: GraphRunner, manifests: Mapping[Space, SpaceManifest]) -> None:
    """Send the golden picture of every space through its graphs and compare with the record.

    Raises
    ------
    ContractMismatch: code or logits further off than the manifest's tolerance, in standard
        deviations of the recorded answer.
    ImageError, LimitExceeded: the recorded picture cannot be read.
    RunnerUnavailable: the engine failed.
    """
    for space, manifest in manifests.items():
        golden, side = manifest.golden, manifest.encoder_side
        image = decode(golden.image_png, max_bytes=_MAX_BYTES, max_pixels=side * side)[None]
        graph = flow(space, manifest.resolution).name
        w = (await runner.run("encoder", image=image))["w"]
        found = await runner.run(graph, w=w)
        _compare(graph, "w_star", golden.w_star, found["w_star"][0], golden.tolerance)
        _compare(graph, "logits", golden.logits, found["logits"][0], golden.tolerance)
        graph = classifiers(space, manifest.resolution).name
        found = await runner.run(graph, w_star=golden.w_star[None])
        _compare(graph, "logits", golden.logits, found["logits"][0], golden.tolerance)


def _compare(graph: str, tensor: str, expected: Float32, found: Float32, tolerance: float) -> None:
    """Refuse max |found - expected| above `tolerance` standard deviations of `expected`."""
    difference = float(np.abs(np.subtract(found, expected, dtype=np.float64)).max())
    allowed = tolerance * float(np.std(expected, dtype=np.float64))
    # Not `difference > allowed`: a NaN must fail too.
    if not difference <= allowed:
        raise ContractMismatch(
            graph,
            f"{tensor} of the golden request",
            f"within {allowed:.3g} ({tolerance:g} standard deviations) of the record",
            f"{difference:.3g} off",
        )
