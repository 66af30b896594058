"""A repository may come without its generator, and without nothing else."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.service.conftest import GRAPHS, FakeRunner

from wstar.checksums import check_checksums, write_checksums
from wstar.errors import ContractMismatch, RunnerUnavailable
from wstar.graphs import Space
from wstar_service.embedded import EmbeddedRunner
from wstar_service.golden import check_golden
from wstar_service.keeper import Keeper
from wstar_service.warmup import warm_up

if TYPE_CHECKING:
    from tests.service.conftest import World

    from wstar_service.runner import GraphRunner

REST = GRAPHS - {"generator"}


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A repository of one's own to break."""
    return Path(shutil.copytree(repository, tmp_path / "copy"))


@pytest.mark.parametrize("listed", [True, False])
def test_without_the_generator_all_else_is_served(copy: Path, world: World, listed: bool) -> None:
    shutil.rmtree(copy / "generator")
    if not listed:
        write_checksums(copy)

    async def scenario() -> None:
        runner = EmbeddedRunner.open(copy, 1)
        assert runner.graphs == REST
        await check_golden(runner, await runner.manifests())
        await warm_up(runner, await runner.manifests())
        w = world.values(51, Space.W_PLUS)[None]
        assert (await runner.run("flow", w=w))["w_star"].shape == w.shape
        with pytest.raises(RunnerUnavailable, match="graph 'generator' is not served"):
            await runner.run("generator", w=w)
        await runner.close()

    asyncio.run(scenario())


def test_with_it_all_is_served(repository: Path) -> None:
    runner = EmbeddedRunner.open(repository, 1)
    assert runner.graphs == GRAPHS
    asyncio.run(runner.close())


def test_a_generator_of_which_a_part_is_there_is_refused(copy: Path) -> None:
    (copy / "generator" / "1" / "model.onnx").unlink()
    with pytest.raises(ContractMismatch, match=r"'generator', 1/model\.onnx: expected 'a file'"):
        EmbeddedRunner.open(copy, 1)
    write_checksums(copy)
    with pytest.raises(ContractMismatch, match=r"'generator', 1/model\.onnx: expected 'a file'"):
        EmbeddedRunner.open(copy, 1)


@pytest.mark.parametrize("graph", sorted(REST))
def test_any_other_missing_graph_is_refused(copy: Path, graph: str) -> None:
    shutil.rmtree(copy / graph)
    for _ in range(2):
        with pytest.raises(ContractMismatch) as caught:
            EmbeddedRunner.open(copy, 1)
        assert caught.value.graph == graph
        # The same without a list that still names it.
        write_checksums(copy)


def test_whoever_names_no_optional_graph_misses_each(copy: Path) -> None:
    shutil.rmtree(copy / "generator")
    check_checksums(copy, optional="generator")
    with pytest.raises(ContractMismatch, match="'generator', 1/model"):
        check_checksums(copy)
    # Whatever else is wrong with it is still seen.
    (copy / "generators").touch()
    with pytest.raises(ContractMismatch, match="generators: expected 'no file"):
        check_checksums(copy, optional="generator")


def test_the_proof_leaves_out_the_picture_and_nothing_else(world: World) -> None:
    async def proved(runner: FakeRunner) -> list[str]:
        await check_golden(runner, await runner.manifests())
        return [graph for graph, _ in runner.calls]

    lacking = asyncio.run(proved(FakeRunner(world, graphs=REST)))
    complete = asyncio.run(proved(FakeRunner(world)))
    assert lacking == [graph for graph in complete if graph != "generator"]
    for graph in REST:
        with pytest.raises(ContractMismatch):
            asyncio.run(proved(FakeRunner(world, graphs=REST, spoiled={graph: 0.1})))


class Accepting:
    """A server that needs no proof."""

    async def make_ready(self, runner: GraphRunner) -> None:
        """Serve whatever it is."""

    async def withdraw(self) -> None:
        """Nothing was served."""


@pytest.mark.parametrize(("served", "warnings"), [(REST, 1), (GRAPHS, 0)])
def test_what_is_missing_is_said_once(
    world: World, served: frozenset[str], warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def opened() -> FakeRunner:
        return FakeRunner(world, graphs=served)

    async def scenario() -> None:
        keeper, proved = Keeper(Accepting(), opened, None), asyncio.Event()
        keeping = asyncio.ensure_future(keeper.keep(proved.set))
        await proved.wait()
        w = np.zeros((1, 4, 512), np.float32)
        assert keeper._runner is not None
        await keeper._runner.run("flow", w=w)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await keeper.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert caplog.text.count("serving without graph 'generator'") == warnings
