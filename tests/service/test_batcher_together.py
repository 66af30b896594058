"""Graphs that one caller asks for together: one visit to the engine, with their like only."""

from __future__ import annotations

import asyncio

import pytest
from tests.service.test_batcher import Engine, ask, busy, numbers

from wstar.errors import RunnerUnavailable
from wstar_service.runner import Array
from wstar_service.stages import collected


def test_graphs_asked_for_together_run_in_one_visit() -> None:
    engine = Engine()

    async def scenario() -> list[dict[str, Array]]:
        async with busy(engine) as batcher:
            both = [
                asyncio.ensure_future(batcher.run(["a", "b"], numbers(*values)))
                for values in ((1, 2), (3,), (5, 6))
            ]
            other = ask(batcher, "a", 9)
            await asyncio.sleep(0)
            engine.gate.set()
            assert await other == [18]
            return await asyncio.gather(*both)

    with collected() as stages:
        found = asyncio.run(scenario())
    # Each on the outputs of the one before, whose own outputs are kept, and with their like only.
    assert [answer["x"][:, 0].tolist() for answer in found] == [[4, 8], [12], [20, 24]]
    assert [answer["a_saw"][:, 0].tolist() for answer in found] == [[1, 2], [3], [5, 6]]
    assert engine.batches[1:] == [
        ("a", [1, 2, 3]),
        ("b", [2, 4, 6]),
        ("a", [5, 6]),
        ("b", [10, 12]),
        ("a", [9]),
    ]
    assert engine.told == [(graph, len(values)) for graph, values in engine.batches]
    assert stages.seconds().keys() == {"queue", "first", "a", "b"}


def test_graphs_asked_for_together_stop_at_the_one_that_fails() -> None:
    engine = Engine()
    engine.gate.set()

    async def scenario() -> None:
        async with busy(engine) as batcher:
            with pytest.raises(RunnerUnavailable, match="'a' failed"):
                await batcher.run(["a", "b"], numbers(-1))

    asyncio.run(scenario())
    assert engine.batches[1:] == [("a", [-1])]
