"""A real Triton answers what ONNX Runtime in this process answers, through the same contract."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pytest
from tests.service.triton_process import DEMO

from wstar.graphs import GraphSpec, Space, flow_name, graphs
from wstar_service.embedded import EmbeddedRunner
from wstar_service.golden import check_golden
from wstar_service.runner import Array
from wstar_service.triton import TritonRunner

if TYPE_CHECKING:
    from tests.service.triton_process import TritonProcess

pytestmark = pytest.mark.triton
Result = TypeVar("Result")
# Requests of the largest batch.
_FULL = 4
SPECS = {spec.name: spec for spec in graphs(64, 64)}
# Both are ONNX Runtime 1.32 on the same graph; sums run in another order where threads and
# batches differ, which moves a value by some units in the last of float32's 7 digits.
OF_STD = 1e-5
LEVELS = 1


def inputs(spec: GraphSpec, batch: int) -> dict[str, Array]:
    rng = np.random.default_rng(batch)
    return {
        tensor.name: rng.integers(0, 256, (batch, *tensor.shape)).astype(np.uint8)
        if tensor.dtype == "uint8"
        else rng.standard_normal((batch, *tensor.shape)).astype(np.float32)
        for tensor in spec.inputs
    }


def asked(
    triton: TritonProcess,
    work: Callable[[TritonRunner], Awaitable[Result]],
    shared_memory: bool = True,
) -> Result:
    async def scenario() -> Result:
        runner = await TritonRunner.open(triton.grpc, shared_memory)
        try:
            return await work(runner)
        finally:
            await runner.close()

    return asyncio.run(scenario())


def same(spec: GraphSpec, found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert set(found) == set(expected)
    for tensor in spec.outputs:
        ours, theirs = expected[tensor.name], found[tensor.name]
        assert (theirs.dtype, theirs.shape) == (ours.dtype, ours.shape)
        allowed = LEVELS if tensor.dtype == "uint8" else OF_STD * float(np.std(ours))
        assert np.abs(np.subtract(theirs, ours, dtype=np.float64)).max() <= allowed


@pytest.fixture(scope="module")
def embedded() -> EmbeddedRunner:
    """The same repository in this process."""
    return EmbeddedRunner.open(DEMO, 1)


@pytest.mark.parametrize("name", SPECS)
def test_every_graph_answers_as_in_this_process(
    triton: TritonProcess, embedded: EmbeddedRunner, name: str
) -> None:
    spec = SPECS[name]
    # The last one is above max_batch, so it goes as two requests.
    given = [inputs(spec, batch) for batch in (1, 3, spec.max_batch, spec.max_batch + 1)]

    async def both(runner: TritonRunner) -> None:
        for arrays in given:
            same(spec, await runner.run(name, **arrays), await embedded.run(name, **arrays))

    asked(triton, both)
    assert name in triton.answered


@pytest.mark.parametrize("shared_memory", [True, False])
def test_pictures_arrive_by_either_way(
    triton: TritonProcess, embedded: EmbeddedRunner, shared_memory: bool
) -> None:
    async def both(runner: TritonRunner) -> list[str]:
        for name in ("encoder", "generator"):
            arrays = inputs(SPECS[name], SPECS[name].max_batch)
            expected = await embedded.run(name, **arrays)
            found = await asyncio.gather(*(runner.run(name, **arrays) for _ in range(4)))
            for answer in found:
                same(SPECS[name], answer, expected)
        return await asyncio.to_thread(triton.regions)

    used = asked(triton, both, shared_memory)
    assert bool(used) is shared_memory
    assert triton.regions() == []


def test_manifests_come_from_the_configuration(triton: TritonProcess) -> None:
    found = asked(triton, lambda runner: runner.manifests())
    assert set(found) == set(Space)
    for space, manifest in found.items():
        text = (DEMO / flow_name(space) / "space.json").read_text()
        assert manifest.to_json() == type(manifest).from_json(text, "file").to_json()


def test_the_golden_requests_are_reproduced(triton: TritonProcess) -> None:
    async def proved(runner: TritonRunner) -> str:
        await check_golden(runner, await runner.manifests())
        return runner.description

    assert asked(triton, proved) == "Triton 2.51.0"


def test_requests_of_many_callers_run_as_batches(
    triton: TritonProcess, embedded: EmbeddedRunner
) -> None:
    spec, callers = SPECS["flow"], 48
    given, large = inputs(spec, callers)["w"], inputs(spec, spec.max_batch)["w"]
    before = triton.counts("flow")

    async def at_once(runner: TritonRunner) -> list[dict[str, Array]]:
        # Full batches keep the graph busy, however quick it is, while others gather behind them.
        busy = asyncio.gather(*(runner.run("flow", w=large) for _ in range(_FULL)))
        found = await asyncio.gather(
            *(runner.run("flow", w=given[i : i + 1]) for i in range(callers))
        )
        await busy
        return found

    found = asked(triton, at_once)
    after = triton.counts("flow")
    assert after["success"] - before["success"] == _FULL + callers
    assert after["items"] - before["items"] == _FULL * spec.max_batch + callers
    # How many come together is the machine's to say; each alone would be one more each.
    assert after["executions"] - before["executions"] < _FULL + callers
    joined = {name: np.concatenate([answer[name] for answer in found]) for name in found[0]}
    same(spec, joined, asyncio.run(embedded.run("flow", w=given)))
