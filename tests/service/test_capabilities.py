"""A server without a generator: everything but edits, which it refuses before any work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.service.conftest import GRAPHS, FakeRunner

from wstar.attributes import ATTRIBUTES
from wstar.errors import RunnerUnavailable
from wstar.remote import error_of_call
from wstar.v1 import wstar_pb2 as pb
from wstar_service.capabilities import ALL, CLASSIFY, DISTANCE, EDIT, EMBED, check_served, served

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from tests.service.conftest import World

UNDRAWN = GRAPHS - {"generator"}


def test_all_but_edits_need_no_generator() -> None:
    assert served(GRAPHS) == ALL == ("embed", "distance", "classify", "edit")
    assert served(UNDRAWN) == (EMBED, DISTANCE, CLASSIFY)


def test_what_is_missing_is_named() -> None:
    for capability in ALL:
        check_served(capability, ALL)
    with pytest.raises(RunnerUnavailable, match="^edit: .* no generator graph; it serves embed"):
        check_served(EDIT, served(UNDRAWN))


def test_edits_are_refused_at_once_and_the_rest_is_answered(world: World) -> None:
    """Not even a picture is looked at: one that is none is refused for the same reason."""
    faces = [world.face(), world.code(51)]
    edits = [pb.AttributeEdit(attribute=ATTRIBUTES[5], step=1)]
    no_picture = pb.Face(picture=pb.Picture(data=b"none"))
    answered: list[Message] = [
        pb.EmbedRequest(faces=faces, include_w_plus=True, include_scores=True),
        pb.DistanceRequest(a=faces, b=faces, explain=True),
        pb.ClassifyRequest(faces=faces),
    ]

    async def scenario() -> None:
        async with world.serving(FakeRunner(world, graphs=UNDRAWN)) as running:
            info = await running.stub.GetInfo(pb.GetInfoRequest())
            assert list(info.capabilities) == ["embed", "distance", "classify"]
            for request in answered:
                method = type(request).__name__.removesuffix("Request")
                assert (await getattr(running.stub, method)(request)).space_id == "w_star-test"
            running.runner.calls.clear()
            for face in (*faces, no_picture):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await running.stub.Edit(pb.EditRequest(face=face, edits=edits))
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                error = error_of_call(caught.value, "here")  # type: ignore[arg-type]
                assert isinstance(error, RunnerUnavailable)
                assert "no generator graph" in str(error)
            assert running.runner.calls == []

    asyncio.run(scenario())
