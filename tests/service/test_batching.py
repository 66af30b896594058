"""Work of many callers on the demo graphs: the same answers as alone, in fewer runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from tests.service.engine_threads import engine_threads
from tests.service.triton_process import DEMO

from wstar.graphs import GraphSpec, graphs
from wstar_service.batcher import SAME_LEVELS, SAME_OF_STD
from wstar_service.embedded import EmbeddedRunner
from wstar_service.runner import Array

SPECS = {spec.name: spec for spec in graphs(64, 64)}
CALLERS, CALLS, FACES = 24, 6, 3


@dataclass
class Seen:
    """What an observer is told."""

    batches: Counter[str] = field(default_factory=Counter)
    faces: Counter[str] = field(default_factory=Counter)
    depth: int = 0
    deepest: int = 0

    def ran(self, graph: str, faces: int) -> None:
        """Count it."""
        self.batches[graph] += 1
        self.faces[graph] += faces

    def waiting(self, change: int) -> None:
        """Add it up."""
        self.depth += change
        self.deepest = max(self.deepest, self.depth)


def drawn(rng: np.random.Generator, spec: GraphSpec, faces: int) -> dict[str, Array]:
    return {
        t.name: rng.integers(0, 256, (faces, *t.shape)).astype(np.uint8)
        if t.dtype == "uint8"
        else rng.standard_normal((faces, *t.shape)).astype(np.float32)
        for t in spec.inputs
    }


def assert_same(spec: GraphSpec, found: dict[str, Array], alone: dict[str, Array]) -> None:
    assert set(found) == set(alone)
    for tensor in spec.outputs:
        ours, theirs = found[tensor.name], alone[tensor.name]
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        allowed = SAME_LEVELS if tensor.dtype == "uint8" else SAME_OF_STD * float(np.std(theirs))
        assert np.abs(np.subtract(ours, theirs, dtype=np.float64)).max() <= allowed


@pytest.mark.parametrize("max_delay_s", [0.0, 0.002])
def test_many_callers_get_what_each_would_get_alone(max_delay_s: float) -> None:
    rng, seen, threads = np.random.default_rng(7), Seen(), engine_threads()
    names = list(SPECS)
    work = []
    for _ in range(CALLERS * CALLS):
        spec = SPECS[names[rng.integers(len(names))]]
        work.append((spec, drawn(rng, spec, int(rng.integers(1, FACES + 1)))))

    async def scenario() -> None:
        lone = EmbeddedRunner.open(DEMO, 1)
        alone = [await lone.run(spec.name, **arrays) for spec, arrays in work]
        await lone.close()
        runner = EmbeddedRunner.open(DEMO, 1, observer=seen, max_delay_s=max_delay_s)

        async def caller(first: int) -> None:
            for i in range(first, len(work), CALLERS):
                spec, arrays = work[i]
                assert_same(spec, await runner.run(spec.name, **arrays), alone[i])

        await asyncio.gather(*(caller(i) for i in range(CALLERS)))
        await runner.close()

    asyncio.run(scenario())
    asked = Counter[str]()
    for spec, arrays in work:
        asked[spec.name] += len(next(iter(arrays.values())))
    assert seen.faces == asked
    # Of 24 callers on 11 graphs about two want the same one at a time.
    assert seen.batches.total() < 0.75 * len(work)
    assert (seen.depth, seen.deepest > FACES) == (0, True)
    assert engine_threads() <= threads


def test_a_code_that_is_no_number_spoils_no_other() -> None:
    spec, rng = SPECS["flow"], np.random.default_rng(0)
    given = [drawn(rng, spec, 1) for _ in range(8)]
    bad = {"w": np.full((1, 10, 512), np.nan, np.float32)}

    async def scenario() -> None:
        runner = EmbeddedRunner.open(DEMO, 1, max_delay_s=0.02)
        alone = [await runner.run("flow", **arrays) for arrays in given]
        found = await asyncio.gather(
            *(runner.run("flow", **arrays) for arrays in [*given[:4], bad, *given[4:]])
        )
        for i, answer in enumerate([*found[:4], *found[5:]]):
            assert_same(spec, answer, alone[i])
        assert np.isnan(found[4]["logits"]).all()
        await runner.close()

    asyncio.run(scenario())
