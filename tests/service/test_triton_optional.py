"""A Triton without a ready generator serves all else, and is proved anew when that changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from wstar.errors import RunnerUnavailable
from wstar.graphs import graphs
from wstar_service.golden import check_golden
from wstar_service.stages import collected
from wstar_service.triton import TritonRunner

if TYPE_CHECKING:
    from tests.service.triton_process import TritonProcess

pytestmark = pytest.mark.triton
GRAPHS = frozenset(spec.name for spec in graphs(64, 64))
CODES = np.zeros((1, 10, 512), np.float32)
# It is looked at every 2 s.
NOTICED_S = 10


class Told:
    """What an observer is told."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, int]] = []

    def ran(self, graph: str, faces: int) -> None:
        """Remember it."""
        self.batches.append((graph, faces))

    def waiting(self, change: int) -> None:
        """Triton has the queue."""
        raise AssertionError("nothing waits in this process")


def test_the_generator_may_go_and_come(own_triton: TritonProcess) -> None:
    async def lost(runner: TritonRunner) -> str:
        async with asyncio.timeout(NOTICED_S):
            return await runner.lost()

    async def proved() -> TritonRunner:
        runner = await TritonRunner.open(own_triton.grpc, shared_memory=False)
        await check_golden(runner, await runner.manifests())
        return runner

    async def scenario() -> None:
        runner = await proved()
        assert runner.graphs == GRAPHS
        await asyncio.to_thread(own_triton.unload, "generator")
        assert await lost(runner) == "changed: generator"
        await runner.close()
        runner = await proved()
        assert runner.graphs == GRAPHS - {"generator"}
        assert (await runner.run("flow", w=CODES))["w_star"].shape == CODES.shape
        with pytest.raises(RunnerUnavailable, match="graph 'generator' is not served"):
            await runner.run("generator", w=CODES)
        await asyncio.to_thread(own_triton.load, "generator")
        assert await lost(runner) == "changed: generator"
        await runner.close()
        runner = await proved()
        assert runner.graphs == GRAPHS
        # Who asks before the next look is told, and so is the one who keeps it.
        await asyncio.to_thread(own_triton.unload, "generator")
        with pytest.raises(RunnerUnavailable):
            await runner.run("generator", w=CODES)
        assert runner._wire.lost.done()
        await runner.close()

    try:
        asyncio.run(scenario())
    finally:
        own_triton.load("generator")


def test_requests_are_timed_and_counted(triton: TritonProcess) -> None:
    told = Told()

    async def scenario() -> dict[str, float]:
        runner = await TritonRunner.open(triton.grpc, shared_memory=True, observer=told)
        with collected() as stages:
            await runner.run("encoder", image=np.zeros((20, 64, 64, 3), np.uint8))
            await runner.run("flow", w=CODES)
        await runner.close()
        return stages.seconds()

    seconds = asyncio.run(scenario())
    assert told.batches == [("encoder", 16), ("encoder", 4), ("flow", 1)]
    assert set(seconds) == {"encoder", "flow"}
    assert all(value > 0 for value in seconds.values())
