"""A caller who stops waiting stops the work in Triton too, and leaves nothing behind there."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.service.triton_process import eventually

from wstar.errors import DeadlineExceeded, Overloaded
from wstar_service.runner import deadline
from wstar_service.triton import TritonRunner

if TYPE_CHECKING:
    from tests.service.triton_process import TritonProcess

    from wstar_service.runner import Array

pytestmark = pytest.mark.triton
CALLS = 12
ROUNDS = 5
LEAVING_S = 10.0
PATIENCE_S = 30.0


def pictures() -> Array:
    """A full batch, some tens of milliseconds of work."""
    return np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3)).astype(np.uint8)


def quiet(triton: TritonProcess) -> bool:
    """Nobody waits and nobody holds shared memory."""
    return triton.waiting("encoder") == 0 and triton.regions() == []


def test_a_deadline_ends_what_waits_in_a_queue_with_timeouts(own_triton: TritonProcess) -> None:
    triton, images = own_triton, pictures()
    policy = {
        "timeout_action": "REJECT",
        "allow_timeout_override": True,
        # A request may only shorten it.
        "default_timeout_microseconds": 60_000_000,
    }
    triton.load(
        "encoder", lambda config: config["dynamic_batching"].update(default_queue_policy=policy)
    )
    before = triton.counts("encoder")

    async def scenario() -> list[BaseException | dict[str, Array]]:
        runner = await TritonRunner.open(triton.grpc, shared_memory=False)
        try:
            with deadline(0.06):
                return await asyncio.gather(
                    *(runner.run("encoder", image=images) for _ in range(CALLS)),
                    return_exceptions=True,
                )
        finally:
            await runner.close()

    found = asyncio.run(scenario())
    late = [answer for answer in found if isinstance(answer, BaseException)]
    assert late
    assert all(isinstance(error, DeadlineExceeded) for error in late)
    eventually(lambda: triton.waiting("encoder") == 0, 10)
    after = triton.counts("encoder")
    # What had not started when the deadline passed never did.
    assert after["success"] - before["success"] < CALLS
    triton.load("encoder")


def test_a_deadline_that_has_passed_asks_nothing(triton: TritonProcess) -> None:
    before = triton.counts("encoder")

    async def scenario() -> None:
        runner = await TritonRunner.open(triton.grpc, shared_memory=True)
        with deadline(0.0), pytest.raises(DeadlineExceeded):
            await runner.run("encoder", image=pictures())
        await runner.close()

    asyncio.run(scenario())
    assert triton.counts("encoder") == before


def test_callers_who_leave_are_free_and_triton_finishes(triton: TritonProcess) -> None:
    images = pictures()
    before = triton.counts("encoder")

    async def scenario() -> None:
        runner = await TritonRunner.open(triton.grpc, shared_memory=True)
        tasks = [asyncio.ensure_future(runner.run("encoder", image=images)) for _ in range(CALLS)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert any(isinstance(answer, asyncio.CancelledError) for answer in found)
        assert triton.waiting("encoder") > 0
        # The connection is as good as before, and so are the answers.
        answer = await runner.run("encoder", image=images)
        assert answer["w"].shape == (16, 10, 512)
        await runner.close()

    asyncio.run(scenario())
    eventually(lambda: quiet(triton), 10)
    after = triton.counts("encoder")
    assert (after["success"] - before["success"], after["fail"]) == (CALLS + 1, before["fail"])


@pytest.mark.slow
def test_callers_who_leave_at_any_moment_do_not_end_triton(own_triton: TritonProcess) -> None:
    """Cancelled, such requests ended Triton: by its backend in seconds, by its gRPC in minutes."""
    images = pictures()

    async def caller(runner: TritonRunner, random: np.random.Generator) -> int:
        answered = 0
        ends = time.monotonic() + LEAVING_S
        while time.monotonic() < ends:
            some = images[: random.integers(1, 9)]
            task = asyncio.ensure_future(runner.run("encoder", image=some))
            # 1 ms to 1 s, most of them short; on a busy machine only the long ones are answered.
            await asyncio.wait([task], timeout=10.0 ** random.uniform(-3.0, 0.0))
            task.cancel()
            (found,) = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(found, dict | asyncio.CancelledError | Overloaded), found
            await asyncio.sleep(0.1 * isinstance(found, Overloaded))
            answered += isinstance(found, dict)
        return answered

    async def scenario() -> list[int]:
        runner = await TritonRunner.open(own_triton.grpc, shared_memory=True)
        callers = [caller(runner, np.random.default_rng(seed)) for seed in range(CALLS)]
        answered = await asyncio.gather(*callers)
        async with asyncio.timeout(PATIENCE_S):
            # What was given up is finished first.
            while own_triton.waiting("encoder") > 0:
                await asyncio.sleep(0.1)
        assert (await runner.run("encoder", image=images))["w"].shape == (16, 10, 512)
        await runner.close()
        return answered

    assert sum(asyncio.run(scenario())) > 0


def test_queue_limits_of_the_configuration_have_their_own_errors(own_triton: TritonProcess) -> None:
    images = pictures()
    policy = {
        "timeout_action": "REJECT",
        "allow_timeout_override": True,
        # Less than a batch takes, and more than an idle Triton needs to start one.
        "default_timeout_microseconds": 10_000,
        "max_queue_size": 2,
    }
    own_triton.load(
        "encoder", lambda config: config["dynamic_batching"].update(default_queue_policy=policy)
    )

    async def scenario() -> list[BaseException | dict[str, Array]]:
        runner = await TritonRunner.open(own_triton.grpc, shared_memory=False)
        try:
            return await asyncio.gather(
                *(runner.run("encoder", image=images) for _ in range(CALLS)),
                return_exceptions=True,
            )
        finally:
            # Neither says that Triton is lost.
            assert (await runner.run("encoder", image=images))["w"].shape == (16, 10, 512)
            await runner.close()

    wanted = {dict, Overloaded, DeadlineExceeded}
    kinds: set[type] = set()
    # On a busy machine a round may lack one of them.
    for _ in range(ROUNDS):
        kinds |= {type(answer) for answer in asyncio.run(scenario())}
        if kinds >= wanted:
            break
    own_triton.load("encoder")
    assert kinds == wanted
