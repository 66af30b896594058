"""Distances against the linear world: numbers by hand, what runs, and how many there may be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.service.conftest import FakeRunner

from wstar.attributes import ATTRIBUTES
from wstar.errors import LimitExceeded, WstarError
from wstar.geometry import squared_distance, squared_distance_matrix
from wstar.graphs import Space
from wstar.remote import error_of_call
from wstar.v1 import wstar_pb2 as pb
from wstar_service.answers import Answers
from wstar_service.calls import Call
from wstar_service.pictures import Pictures
from wstar_service.pipeline import Pipeline
from wstar_service.settings import Settings
from wstar_service.stages import Stages

if TYPE_CHECKING:
    from tests.service.conftest import World


@pytest.mark.parametrize("half", [False, True])
def test_plain_distances_between_codes_run_no_graph(world: World, half: bool) -> None:
    async def scenario() -> tuple[pb.DistanceResponse, list[tuple[str, int]]]:
        async with world.serving() as running:
            request = pb.DistanceRequest(
                a=[world.code(0, half=half), world.code(255, half=half)],
                b=[world.code(255, half=half), world.code(255, half=half)],
            )
            return await running.stub.Distance(request), list(running.runner.calls)

    reply, calls = asyncio.run(scenario())
    assert calls == []
    assert (reply.rows, reply.columns, reply.space_id) == (2, 1, "w_star-test")
    # 192 of 2048 numbers differ by 2.
    assert reply.distances[0].squared_distance == pytest.approx(192 * 4 / 2048)
    assert reply.distances[0].distance == pytest.approx(0.375**0.5)
    assert reply.distances[0].percentile == pytest.approx(37.5)
    assert reply.distances[1].squared_distance == 0
    assert not reply.distances[0].shares


def test_distance_matrix_mixes_pictures_and_codes(world: World) -> None:
    async def scenario() -> pb.DistanceResponse:
        async with world.serving() as running:
            request = pb.DistanceRequest(
                a=[world.face(0), world.code(255, Space.W_STAR_ID)],
                b=[world.face(255), world.code(0, Space.W_PLUS), world.code(127.5)],
                mode=pb.DISTANCE_MODE_MATRIX,
                space=pb.SPACE_W_STAR_ID,
            )
            reply: pb.DistanceResponse = await running.stub.Distance(request)
            return reply

    reply = asyncio.run(scenario())
    assert (reply.rows, reply.columns, reply.space_id) == (2, 3, "w_star_id-test")
    found = [distance.squared_distance for distance in reply.distances]
    # Numbers differ by 4, in W_STAR_ID, where the bytes differ by 255.
    np.testing.assert_allclose(found, np.multiply([1, 0, 0.25, 0, 1, 0.25], 1.5), atol=1e-6)


def test_distance_explained_and_without_an_attribute(world: World) -> None:
    async def scenario() -> tuple[pb.DistanceResponse, list[tuple[str, int]]]:
        async with world.serving() as running:
            request = pb.DistanceRequest(
                a=[world.code(0)],
                b=[world.code(255)],
                explain=True,
                ignore_attributes=[ATTRIBUTES[7], ATTRIBUTES[9], ATTRIBUTES[7]],
            )
            return await running.stub.Distance(request), list(running.runner.calls)

    reply, calls = asyncio.run(scenario())
    assert sorted(calls) == [("classifiers", 2)]
    (distance,) = reply.distances
    # Each of the 40 attributes explains the one number it reads: 2 * 2 / 2048.
    assert distance.squared_distance == pytest.approx(0.375 - 2 * 4 / 2048)
    assert distance.percentile == pytest.approx(37.5)
    shares = {share.attribute: share.share for share in distance.shares}
    assert list(shares) == list(ATTRIBUTES)
    assert shares[ATTRIBUTES[7]] == pytest.approx(4 / 2048)
    assert sum(shares.values()) == pytest.approx(40 * 4 / 2048)
    assert sum(shares.values()) + distance.residual == pytest.approx(0.375)


def random_codes(world: World, count: int, seed: int) -> list[pb.Face]:
    """Codes of W_STAR that are no pictures."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(count, 4, 512)).astype("<f4")
    return [
        pb.Face(
            code=pb.Code(
                space=pb.SPACE_W_STAR, space_id=world.space_id(Space.W_STAR), data=code.tobytes()
            )
        )
        for code in values
    ]


def values_of(faces: list[pb.Face]) -> NDArray[np.float32]:
    return np.stack([np.frombuffer(face.code.data, "<f4").reshape(4, 512) for face in faces])


@pytest.mark.parametrize("matrix", [False, True])
def test_codes_of_the_space_are_bounded_by_their_distances_only(world: World, matrix: bool) -> None:
    """More codes than a batch, as many distances as allowed: no graph, same numbers as alone."""
    a, b = random_codes(world, 100, 1), random_codes(world, 3 if matrix else 100, 2)
    mode = pb.DISTANCE_MODE_MATRIX if matrix else pb.DISTANCE_MODE_PAIRS

    async def scenario() -> tuple[pb.DistanceResponse, list[tuple[str, int]]]:
        async with world.serving(max_batch=4, max_distances=300 if matrix else 100) as running:
            request = pb.DistanceRequest(a=a, b=b, mode=mode)
            return await running.stub.Distance(request), list(running.runner.calls)

    reply, calls = asyncio.run(scenario())
    assert calls == []
    x, y = values_of(a), values_of(b)
    expected = squared_distance_matrix(x, y) if matrix else squared_distance(x, y)
    assert (reply.rows, reply.columns) == (100, 3 if matrix else 1)
    found = [distance.squared_distance for distance in reply.distances]
    # float64 on both sides, of the same float32 numbers.
    np.testing.assert_allclose(found, expected.ravel(), rtol=1e-12)


@pytest.mark.parametrize(
    ("space", "field"),
    [
        (Space.W_STAR, {"explain": True}),
        (Space.W_STAR_ID, {"ignore_attributes": ATTRIBUTES[2:5]}),
        (Space.W_PLUS, {"explain": True, "ignore_attributes": ATTRIBUTES[:1]}),
    ],
)
def test_attributes_of_codes_need_the_classifiers_of_their_space_only(
    world: World, space: Space, field: dict[str, Any]
) -> None:
    async def scenario() -> list[tuple[str, int]]:
        async with world.serving(max_batch=4) as running:
            faces = [world.code(byte, space) for byte in range(0, 250, 25)]
            request = pb.DistanceRequest(
                a=faces,
                b=faces[:2],
                mode=pb.DISTANCE_MODE_MATRIX,
                space=f"SPACE_{space.value}",
                **field,
            )
            await running.stub.Distance(request)
            return list(running.runner.calls)

    assert asyncio.run(scenario()) == [(f"classifiers{space.suffix}", 12)]


def test_lists_that_need_a_model_are_bounded_by_the_batch(world: World) -> None:
    """One picture, or one code of another space, anywhere."""
    codes = [world.code(byte) for byte in range(6)]
    others = [world.face(), world.code(9, Space.W_PLUS), pb.Face()]
    requests = {
        "a": [
            pb.DistanceRequest(a=[*codes, face], b=codes[:1], mode="DISTANCE_MODE_MATRIX")
            for face in others
        ],
        "b": [
            pb.DistanceRequest(a=[face], b=codes, mode="DISTANCE_MODE_MATRIX") for face in others
        ],
    }

    async def scenario() -> None:
        async with world.serving(max_batch=4) as running:
            await running.stub.Distance(pb.DistanceRequest(a=codes, b=codes))
            for field, found in requests.items():
                for request in found:
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await running.stub.Distance(request)
                    error = error_of_call(caught.value, "here")  # type: ignore[arg-type]
                    assert isinstance(error, LimitExceeded)
                    assert str(error).startswith(f"{field}: found {len(getattr(request, field))}")
                    assert str(error).endswith("at most 4 faces")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("mode", "sizes", "count"), [("MATRIX", (5, 5), 25), ("PAIRS", (25, 25), 25)]
)
def test_more_distances_than_a_reply_holds_are_refused(
    world: World, mode: str, sizes: tuple[int, int], count: int
) -> None:
    codes = [world.code(byte) for byte in range(30)]

    async def scenario() -> WstarError:
        async with world.serving(max_distances=24) as running:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.stub.Distance(
                    pb.DistanceRequest(
                        a=codes[: sizes[0]], b=codes[: sizes[1]], mode=f"DISTANCE_MODE_{mode}"
                    )
                )
            return error_of_call(caught.value, "here")  # type: ignore[arg-type]

    error = asyncio.run(scenario())
    assert isinstance(error, LimitExceeded)
    assert error.field == "b"
    assert f"found {count} distances, allowed: at most 24 distances" in str(error)


def test_a_message_full_of_codes_leaves_the_event_loop_to_others(world: World) -> None:
    """While 1800 + 1800 codes are read, compared and written, the event loop keeps turning."""
    a = random_codes(world, 1800, 3)
    request = pb.DistanceRequest(a=a, b=a[::-1])
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def scenario() -> pb.DistanceResponse:
        runner = FakeRunner(world)
        manifests, pictures = await runner.manifests(), Pictures(2**20, 2**20, 1)
        answers = Answers(
            Pipeline(runner, manifests), pictures, manifests, Settings(Path()), "fake", ()
        )
        turning = asyncio.ensure_future(turn())
        reply = await answers.distance(request, Call("Distance", "id", Stages()))
        turning.cancel()
        pictures.close()
        return reply

    reply = asyncio.run(scenario())
    assert len(reply.distances) == 1800
    # Python hands the interpreter from thread to thread every 5 ms, and this is work of 50 ms.
    # On the event loop it would be a handful of turns: one per step.
    assert turns > 8
