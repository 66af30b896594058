"""When the fault is not the caller's: a full server, a lost engine, a fault of ours."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest

from wstar.attributes import ATTRIBUTES
from wstar.errors import InvalidInput, Overloaded, RunnerUnavailable, WstarError
from wstar.remote import error_of_call
from wstar.v1 import wstar_pb2 as pb

if TYPE_CHECKING:
    from tests.service.conftest import Running, World

    from wstar_service.runner import Array


async def failure(running: Running, request: pb.EmbedRequest) -> tuple[str, WstarError]:
    """Embed what must fail; return the status code and the error that a client makes of it."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.stub.Embed(request)
    # It has the methods of a grpc.Call, under another base class.
    return caught.value.code().name, error_of_call(caught.value, "here")  # type: ignore[arg-type]


def test_a_full_server_refuses_at_once_and_says_when_to_return(world: World) -> None:
    async def scenario() -> tuple[str, WstarError]:
        async with world.serving(max_concurrency=1, max_queue=0) as running:
            runner = running.runner
            runner.gate.clear()
            runner.entered.clear()
            picture = pb.EmbedRequest(faces=[world.face(102)])
            first = asyncio.ensure_future(running.stub.Embed(picture))
            await runner.entered.wait()
            found = await failure(running, pb.EmbedRequest(faces=[world.code(51)]))
            await running.stub.GetInfo(pb.GetInfoRequest())
            runner.gate.set()
            await first
            await running.stub.Embed(pb.EmbedRequest(faces=[world.code(51)]))
            return found

    code, error = asyncio.run(scenario())
    assert code == "RESOURCE_EXHAUSTED"
    assert isinstance(error, Overloaded)
    assert error.retry_after_s == 0.5
    assert "1 calls at once" in str(error)


def test_a_lost_engine_is_unavailable_until_it_returns(world: World) -> None:
    async def scenario() -> tuple[str, WstarError]:
        async with world.serving() as running:
            running.runner.failure = RunnerUnavailable("engine lost")
            found = await failure(running, pb.EmbedRequest(faces=[world.face()]))
            running.runner.failure = None
            await running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            return found

    code, error = asyncio.run(scenario())
    assert code == "UNAVAILABLE"
    assert isinstance(error, RunnerUnavailable)
    assert str(error) == "engine lost"
    assert vars(error)["retry_after_s"] == 1.0


def test_a_fault_of_ours_tells_the_log_and_not_the_caller(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> tuple[str, WstarError]:
        async with world.serving() as running:
            running.runner.failure = ZeroDivisionError("secret")
            found = await failure(running, pb.EmbedRequest(faces=[world.face()]))
            running.runner.failure = None
            await running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            return found

    code, error = asyncio.run(scenario())
    assert code == "INTERNAL"
    assert "internal error, request id " in str(error)
    assert "secret" not in str(error)
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("strengths", "path"), [([], "edits"), ([0, 1], "edits"), ([0, 1, 1e5], "strengths[2]")]
)
def test_an_edit_never_answers_nan(world: World, strengths: list[float], path: str) -> None:
    """Also when only the distance moved, measured in another space, overflows."""

    async def scenario() -> WstarError:
        async with world.serving() as running:
            runner, largest = running.runner, max(strengths, default=1.0)
            plain = runner.run

            async def run(*graphs: str, **arrays: Array) -> dict[str, Array]:
                found = await plain(*graphs, **arrays)
                if graphs == ("flow",):  # Each strength moves number 0 by 1000 / 4 * 2.
                    found["w_star"][found["w_star"][:, 0, 0] > 400 * largest] = np.inf
                return found

            runner.run = run  # type: ignore[method-assign]
            edits = [pb.AttributeEdit(attribute=ATTRIBUTES[0], step=1000.0)]
            request = pb.EditRequest(face=world.code(0), edits=edits, strengths=strengths)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.stub.Edit(request)
            return error_of_call(caught.value, "here")  # type: ignore[arg-type]

    error = asyncio.run(scenario())
    assert isinstance(error, InvalidInput)
    assert error.field == path


def test_nan_from_a_picture_is_the_engine_s_fault(world: World) -> None:
    async def scenario() -> tuple[str, WstarError]:
        async with world.serving() as running:
            running.runner.spoiled = {"flow": float("nan")}
            return await failure(running, pb.EmbedRequest(faces=[world.code(9), world.face()]))

    code, error = asyncio.run(scenario())
    assert code == "UNAVAILABLE"
    assert isinstance(error, RunnerUnavailable)
    assert str(error) == "faces[1]: a graph answered with NaN or infinity"
