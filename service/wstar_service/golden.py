"""The start-up proof: the graphs served are those that were measured, each of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wstar.errors import ContractMismatch, InvalidInput, LimitExceeded
from wstar.graphs import Space, classifiers, flow, flow_inverse
from wstar.images import RGB, decode, reduced
from wstar.space import GENERATED_SIDE, SpaceManifest
from wstar_service.contract import OPTIONAL_GRAPH
from wstar_service.runner import Float32, GraphRunner

_MAX_BYTES = 64 * 2**20
# Sums in another order tip a level over its rounding edge, once in the generator and once in
# the average; a wrong weight or a swapped colour is off by tens of levels.
_LEVELS = 2


async def check_golden(runner: GraphRunner, manifests: Mapping[Space, SpaceManifest]) -> None:
    """Send the golden face of every space through every graph and compare with the record.

    Per space: picture to code and logits; code to logits; code back to w; one step along each
    attribute, whose logits must move as the manifest's Gram matrix says; code to picture, where
    a generator is served.

    Raises
    ------
    ContractMismatch: an answer further off than the manifest's tolerance, in standard
        deviations of the expected one (pictures: 2 levels), or a recorded picture is unreadable.
    RunnerUnavailable: the engine failed.
    """
    for space, manifest in manifests.items():
        w = await _check_embedding(runner, space, manifest)
        back = await _check_inverse(runner, space, manifest, w)
        await _check_steps(runner, space, manifest)
        if OPTIONAL_GRAPH in runner.graphs:
            await _check_picture(runner, space, manifest, back)


async def _check_embedding(runner: GraphRunner, space: Space, manifest: SpaceManifest) -> Float32:
    """Encoder, flow, and the classifiers at the golden code and at zero; return w (1, n, 512)."""
    golden, tolerance = manifest.golden, manifest.golden.tolerance
    image = _decoded(space, manifest, "image_png", manifest.encoder_side)[None]
    graph = flow(space, manifest.resolution).name
    w: Float32 = (await runner.run("encoder", image=image))["w"]
    found = await runner.run(graph, w=w)
    _compare(graph, "w_star", golden.w_star, found["w_star"][0], tolerance)
    _compare(graph, "logits", golden.logits, found["logits"][0], tolerance)
    graph = classifiers(space, manifest.resolution).name
    codes = np.stack([golden.w_star, np.zeros_like(golden.w_star)])
    logits = (await runner.run(graph, w_star=codes))["logits"]
    _compare(graph, "logits", golden.logits, logits[0], tolerance)
    allowed = tolerance * float(np.std(golden.logits))
    _within(graph, "logits at zero", manifest.biases, logits[1], allowed, "of biases")
    return w


async def _check_inverse(
    runner: GraphRunner, space: Space, manifest: SpaceManifest, w: Float32
) -> Float32:
    """Without an edit, the inverse gives back the encoder's w; return what it gave."""
    graph, code = flow_inverse(space, manifest.resolution).name, manifest.golden.w_star[None]
    none = np.zeros((1, len(manifest.attributes)), np.float32)
    back: Float32 = (await runner.run(graph, w_star=code, coefficients=none))["w"]
    _compare(graph, "w", w, back, manifest.golden.tolerance)
    return back


async def _check_steps(runner: GraphRunner, space: Space, manifest: SpaceManifest) -> None:
    """A step of length c along n_k moves the logits by c·Γ_k / ‖a_k‖, Γ being the Gram matrix."""
    golden, norms = manifest.golden, manifest.norms
    spread = float(np.std(golden.logits, dtype=np.float64))
    told = norms > 0
    # As far as the attribute's logit moves by one standard deviation, so that the tolerance
    # means the same for all; but not out of the region of faces where the norm is tiny.
    farthest = float(np.std(golden.w_star, dtype=np.float64) * np.sqrt(golden.w_star.size))
    steps = np.minimum(spread / np.where(told, norms, np.inf), farthest)
    steps[~told] = 1.0  # There is no direction: nothing may move.
    moved = manifest.gram * (np.where(told, steps, 0.0) / np.where(told, norms, 1.0))
    codes = np.repeat(golden.w_star[None], len(steps), axis=0)
    inverse, forward = (g(space, manifest.resolution).name for g in (flow_inverse, flow))
    coefficients = np.diag(steps).astype(np.float32)
    w = (await runner.run(inverse, w_star=codes, coefficients=coefficients))["w"]
    found = (await runner.run(forward, w=w))["logits"]
    tensor = "logits after one step per attribute"
    expected = golden.logits + moved.T
    _within(inverse, tensor, expected, found, golden.tolerance * spread, "of gram and norms")


async def _check_picture(
    runner: GraphRunner, space: Space, manifest: SpaceManifest, w: Float32
) -> None:
    """The generator draws the recorded picture; `w` comes out of the inverse, as in an edit."""
    expected = _decoded(space, manifest, "generated_png", GENERATED_SIDE)
    found = reduced((await runner.run("generator", w=w))["image"][0], GENERATED_SIDE)
    if found.shape != expected.shape:
        raise ContractMismatch(
            flow(space, manifest.resolution).name,
            "golden.generated_png of space.json",
            f"a picture of {found.shape}",
            f"{expected.shape}",
        )
    _within(
        "generator", "image of the golden code", expected, found, _LEVELS, "levels of the record"
    )


def _decoded(space: Space, manifest: SpaceManifest, name: str, side: int) -> RGB:
    data: bytes = getattr(manifest.golden, name)
    try:
        return decode(data, max_bytes=_MAX_BYTES, max_pixels=side * side)
    except (InvalidInput, LimitExceeded) as error:
        graph = flow(space, manifest.resolution).name
        where = f"golden.{name} of space.json"
        raise ContractMismatch(graph, where, "a readable picture", str(error)) from error


def _compare(graph: str, tensor: str, expected: Float32, found: Float32, tolerance: float) -> None:
    """Refuse max |found - expected| above `tolerance` standard deviations of `expected`."""
    allowed = tolerance * float(np.std(expected, dtype=np.float64))
    record = f"({tolerance:g} standard deviations) of the record"
    _within(graph, f"{tensor} of the golden request", expected, found, allowed, record)


def _within(
    graph: str,
    tensor: str,
    expected: ArrayLike,
    found: NDArray[np.float32] | RGB,
    allowed: float,
    record: str,
) -> None:
    difference = float(np.abs(np.subtract(found, expected, dtype=np.float64)).max())
    # Not `difference > allowed`: a NaN must fail too.
    if not difference <= allowed:
        raise ContractMismatch(
            graph, tensor, f"within {allowed:.3g} {record}", f"{difference:.3g} off"
        )
