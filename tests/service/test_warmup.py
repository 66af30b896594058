"""Before a server is ready every graph has run once at its full size."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.service.conftest import GRAPHS, FakeRunner

from wstar.errors import RunnerUnavailable
from wstar_service.contract import part_size
from wstar_service.embedded import EmbeddedRunner
from wstar_service.warmup import warm_up

if TYPE_CHECKING:
    from tests.service.conftest import World


@pytest.mark.parametrize("served", [GRAPHS, GRAPHS - {"generator"}])
def test_every_graph_served_runs_once_at_full_size(world: World, served: frozenset[str]) -> None:
    runner = FakeRunner(world, graphs=served)

    async def scenario() -> None:
        await warm_up(runner, await runner.manifests())

    asyncio.run(scenario())
    sizes = {name: part_size(spec) for name, spec in world.specs.items() if name in served}
    assert runner.calls == list(sizes.items())
    assert sizes["encoder"] == 16


def test_the_embedded_runner_runs_its_full_parts(repository: Path, world: World) -> None:
    told: list[tuple[str, int]] = []

    class Told:
        def ran(self, graph: str, faces: int) -> None:
            told.append((graph, faces))

        def waiting(self, change: int) -> None:
            pass

    async def scenario() -> None:
        runner = EmbeddedRunner.open(repository, 1, observer=Told())
        await warm_up(runner, await runner.manifests())
        await runner.close()

    asyncio.run(scenario())
    # One run each: nothing was split.
    assert told == [(name, part_size(spec)) for name, spec in world.specs.items()]


def test_an_engine_that_fails_is_not_ready(world: World) -> None:
    runner = FakeRunner(world, failure=RunnerUnavailable("out of memory"))

    async def scenario() -> None:
        await warm_up(runner, await runner.manifests())

    with pytest.raises(RunnerUnavailable, match="out of memory"):
        asyncio.run(scenario())
