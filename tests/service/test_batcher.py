"""The batcher: who runs with whom, in which order, and who is told what."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest
from tests.service.engine_threads import engine_threads

from wstar.errors import InvalidInput, RunnerUnavailable
from wstar_service.batcher import Batcher
from wstar_service.runner import Array
from wstar_service.stages import Stages, collected

SIZES = {"a": 4, "b": 4, "first": 1}
# Longer than any test takes: whoever waits for it has failed.
NEVER_S = 10.0


@dataclass
class Engine:
    """Doubles numbers, refuses negative ones, and runs nothing while `gate` is shut.

    It is its own observer: `batches` is what it ran, `told` what it was told of.
    """

    batches: list[tuple[str, list[float]]] = field(default_factory=list)
    told: list[tuple[str, int]] = field(default_factory=list)
    depth: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def execute(self, graph: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """In the engine's thread."""
        self.entered.set()
        assert self.gate.wait(NEVER_S)
        numbers = arrays["x"]
        self.batches.append((graph, numbers[:, 0].tolist()))
        if (numbers < 0).any():
            raise RunnerUnavailable(f"graph {graph!r} failed")
        return {"x": 2 * numbers, f"{graph}_saw": numbers}

    def ran(self, graph: str, faces: int) -> None:
        """Remember it."""
        self.told.append((graph, faces))

    def waiting(self, change: int) -> None:
        """Add it up; nobody leaves who did not come."""
        self.depth += change
        assert self.depth >= 0


def numbers(*values: float) -> dict[str, Array]:
    return {"x": np.array(values, np.float32)[:, None]}


async def asked(batcher: Batcher, graph: str, *values: float) -> list[float]:
    found = await batcher.run([graph], numbers(*values))
    return list(found["x"][:, 0])


def ask(batcher: Batcher, graph: str, *values: float) -> asyncio.Task[list[float]]:
    return asyncio.ensure_future(asked(batcher, graph, *values))


@asynccontextmanager
async def busy(engine: Engine, max_delay_s: float = 0.0) -> AsyncIterator[Batcher]:
    """A batcher whose engine is at work until its gate opens."""
    tasks, threads = asyncio.all_tasks(), engine_threads()
    batcher = Batcher(engine.execute, SIZES, observer=engine, max_delay_s=max_delay_s)
    first = ask(batcher, "first", 0.0)
    assert await asyncio.to_thread(engine.entered.wait, NEVER_S)
    yield batcher
    engine.gate.set()
    assert await first == [0.0]
    await batcher.close()
    assert engine.depth == 0
    assert asyncio.all_tasks() == tasks
    assert engine_threads() <= threads


def test_what_waits_runs_in_the_order_of_arrival_with_its_like() -> None:
    engine = Engine()

    async def scenario() -> list[list[float]]:
        async with busy(engine) as batcher:
            work = [("a", [1, 2]), ("b", [3]), ("a", [4]), ("a", [5, 6]), ("a", [7]), ("b", [8])]
            tasks = [ask(batcher, graph, *values) for graph, values in work]
            await asyncio.sleep(0)
            assert engine.depth == 8
            engine.gate.set()
            return await asyncio.gather(*tasks)

    assert asyncio.run(scenario()) == [[2, 4], [6], [8], [10, 12], [14], [16]]
    # 5 and 6 do not fit beside 1, 2 and 4; 7 would, but came later.
    assert engine.batches == [
        ("first", [0]),
        ("a", [1, 2, 4]),
        ("b", [3, 8]),
        ("a", [5, 6, 7]),
    ]
    assert engine.told == [(graph, len(values)) for graph, values in engine.batches]


def test_an_idle_engine_starts_at_once() -> None:
    engine = Engine()
    engine.gate.set()

    async def scenario() -> None:
        async with busy(engine) as batcher:
            assert await asked(batcher, "a", 1) == [2]
            assert await asked(batcher, "a", 2) == [4]

    asyncio.run(scenario())
    assert engine.batches[1:] == [("a", [1]), ("a", [2])]


def test_parts_of_much_work_take_turns_with_others() -> None:
    engine = Engine()

    async def scenario() -> tuple[list[float], list[float]]:
        async with busy(engine) as batcher:
            much, little = ask(batcher, "a", *range(10)), ask(batcher, "a", 20, 21)
            await asyncio.sleep(0)
            engine.gate.set()
            return await much, await little

    assert asyncio.run(scenario()) == ([2.0 * i for i in range(10)], [40, 42])
    assert [values for _, values in engine.batches[1:]] == [
        [0, 1, 2, 3],
        [20, 21],
        [4, 5, 6, 7],
        [8, 9],
    ]


def test_a_caller_who_goes_leaves_the_queue_and_never_runs() -> None:
    engine = Engine()

    async def scenario() -> None:
        async with busy(engine) as batcher:
            tasks = [ask(batcher, "a", i) for i in range(1, 4)]
            await asyncio.sleep(0)
            with collected() as stages, pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asked(batcher, "b", 9)
            assert set(stages.seconds()) == {"queue"}
            tasks[1].cancel()
            await asyncio.gather(tasks[1], return_exceptions=True)
            assert engine.depth == 2
            engine.gate.set()
            assert (await tasks[0], await tasks[2]) == ([2], [6])

    asyncio.run(scenario())
    assert engine.batches[1:] == [("a", [1, 3])]


def test_a_batch_goes_on_without_one_of_its_callers() -> None:
    engine = Engine()

    async def scenario() -> None:
        async with busy(engine) as batcher:
            tasks = [ask(batcher, "a", i) for i in (1, 2)]
            await asyncio.sleep(0)
            engine.entered.clear()
            slow = threading.Event()
            execute = batcher._execute

            def held(graph: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
                found = execute(graph, arrays)
                assert slow.wait(NEVER_S)
                return found

            batcher._execute = held
            engine.gate.set()
            assert await asyncio.to_thread(engine.entered.wait, NEVER_S)
            tasks[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]
            slow.set()
            assert await tasks[1] == [4]

    asyncio.run(scenario())
    assert engine.batches[1:] == [("a", [1, 2])]


def test_only_the_guilty_of_a_failed_batch_fails() -> None:
    engine = Engine()

    async def scenario() -> list[object]:
        async with busy(engine) as batcher:
            tasks = [ask(batcher, "a", i) for i in (1, -2, 3)]
            misshapen = asyncio.ensure_future(batcher.run(["a"], {"x": np.zeros((1, 3))}))
            await asyncio.sleep(0)
            engine.gate.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            # It could not even be put beside the others; alone it is the engine's to judge.
            assert (await misshapen)["x"].shape == (1, 3)
            return list(found)

    first, guilty, last = asyncio.run(scenario())
    assert (first, last) == ([2], [6])
    assert isinstance(guilty, RunnerUnavailable)
    # Each once alone, in the order of arrival.
    assert engine.batches[1:] == [("a", [1]), ("a", [-2]), ("a", [3]), ("a", [0])]
    assert engine.told == [("first", 1), ("a", 1), ("a", 1), ("a", 1)]


def test_a_delay_lets_an_idle_engine_wait_for_more() -> None:
    engine = Engine()
    engine.gate.set()

    async def scenario() -> float:
        async with busy(engine, max_delay_s=0.1) as batcher:
            await asyncio.sleep(0.15)
            early = ask(batcher, "a", 1)
            await asyncio.sleep(0.02)
            assert (await ask(batcher, "a", 2), await early) == ([4], [2])
            # A full batch waits for nobody.
            started = time.monotonic()
            await asyncio.gather(*(ask(batcher, "b", i) for i in range(4)))
            passed = time.monotonic() - started
            # Nor does one who was all that it waited for.
            gone = ask(batcher, "a", 3)
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            return passed

    passed = asyncio.run(scenario())
    assert passed < 0.1
    assert engine.batches[1:] == [("a", [1, 2]), ("b", [0, 1, 2, 3])]


def test_a_closing_batcher_finishes_what_runs_and_refuses_the_rest() -> None:
    engine = Engine()

    async def scenario() -> None:
        async with busy(engine) as batcher:
            waiting = [ask(batcher, "a", 1), ask(batcher, "b", 2)]
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(batcher.close())
            found = await asyncio.gather(*waiting, return_exceptions=True)
            for error in found:
                assert isinstance(error, RunnerUnavailable)
            assert not closing.done()
            with pytest.raises(RunnerUnavailable, match="graph 'a' was not run"):
                await asked(batcher, "a", 3)
            engine.gate.set()
            await closing

    asyncio.run(scenario())
    assert engine.batches == [("first", [0])]


def test_each_caller_is_told_where_the_time_went() -> None:
    engine = Engine()

    async def timed(batcher: Batcher, *values: float) -> Stages:
        with collected() as stages:
            await asked(batcher, "a", *values)
        return stages

    async def scenario() -> list[Stages]:
        async with busy(engine) as batcher:
            tasks = [asyncio.ensure_future(timed(batcher, *range(n))) for n in (1, 9)]
            await asyncio.sleep(0.05)
            engine.gate.set()
            return await asyncio.gather(*tasks)

    short, long = asyncio.run(scenario())
    assert [stage.name for stage in short.all] == ["queue", "a"]
    assert [stage.name for stage in long.all] == ["queue", "a"] * 3
    for stages in (short, long):
        assert stages.seconds()["queue"] >= 0.04
        for waited, ran in zip(stages.all[::2], stages.all[1::2], strict=True):
            assert waited.started_s <= waited.ended_s == ran.started_s <= ran.ended_s


def test_inputs_of_several_batch_sizes_are_refused() -> None:
    engine = Engine()

    async def scenario() -> None:
        batcher = Batcher(engine.execute, SIZES)
        with pytest.raises(InvalidInput, match="batch: found {'x': 2, 'z': 1}"):
            await batcher.run(["a"], {**numbers(1, 2), "z": np.zeros(1)})
        await batcher.close()

    asyncio.run(scenario())
    assert engine.batches == []


@pytest.mark.parametrize("seed", range(5))
def test_whoever_stays_gets_an_answer_whatever_the_others_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    engine = Engine()
    engine.gate.set()
    outcomes: Counter[str] = Counter()

    async def caller(batcher: Batcher, number: int) -> None:
        for step in range(10):
            value = 1 + step + 10 * number
            values = [value] * int(rng.integers(1, 7))
            guilty = rng.random() < 0.1
            if guilty:
                values[-1] = -value
            task = ask(batcher, "ab"[rng.integers(2)], *values)
            if rng.random() < 0.2:
                await asyncio.sleep(rng.random() / 1000)
                task.cancel()
            try:
                assert await task == [2 * v for v in values]
                assert not guilty
                outcomes["right"] += 1
            except RunnerUnavailable:
                assert guilty
                outcomes["guilty"] += 1
            except asyncio.CancelledError:
                outcomes["gone"] += 1

    async def scenario() -> None:
        async with busy(engine, max_delay_s=0.0002 * (seed % 2)) as batcher:
            await asyncio.gather(*(caller(batcher, i) for i in range(20)))

    asyncio.run(scenario())
    assert set(outcomes) == {"right", "guilty", "gone"}
    assert max(len(values) for _, values in engine.batches) == 4
    for graph, values in engine.batches:
        assert len(values) <= SIZES[graph]
