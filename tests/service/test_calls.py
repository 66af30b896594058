"""Every call against the linear world: numbers computed by hand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from wstar.attributes import ATTRIBUTES
from wstar.codes import Code
from wstar.graphs import Space
from wstar.images import encode, encoder_input
from wstar.v1 import wstar_pb2 as pb

if TYPE_CHECKING:
    from tests.service.conftest import World

# float32 rounding of numbers of size 1 to 10.
CLOSE = 2e-6


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_info_says_what_is_served(world: World) -> None:
    async def scenario() -> pb.GetInfoResponse:
        async with world.serving(
            max_batch=7,
            max_queue=9,
            max_stream_in_flight=5,
            max_distances=11,
        ) as running:
            reply: pb.GetInfoResponse = await running.stub.GetInfo(pb.GetInfoRequest())
            return reply

    info = asyncio.run(scenario())
    assert [space.space for space in info.spaces] == [1, 2, 3]
    assert info.spaces[1].space_id == "w_star_id-test"
    assert dict(info.spaces[0].evaluation) == {"pearson": 0.75}
    assert dict(info.spaces[0].labels) == {"world": "linear"}
    assert tuple(info.attributes) == ATTRIBUTES
    assert (info.n, info.resolution, info.encoder_side, info.runner) == (4, 8, 8, "fake")
    assert info.version
    assert list(info.capabilities) == ["embed", "distance", "classify", "edit"]
    limits = {field.name: value for field, value in info.limits.ListFields()}
    assert limits == {
        "max_image_bytes": 10 * 2**20,
        "max_image_pixels": 4096 * 4096,
        "max_batch": 7,
        "max_concurrency": 16,
        "max_message_bytes": 64 * 2**20,
        "max_queue": 9,
        "max_stream_in_flight": 5,
        "max_distances": 11,
    }


def test_a_bound_per_token_is_told_where_there_are_tokens(world: World, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("someone 0123456789abcdef\n")

    async def scenario() -> tuple[int, int]:
        async with world.serving() as running:
            free = await running.stub.GetInfo(pb.GetInfoRequest())
        async with world.serving(tokens=tokens, max_concurrency_per_token=3) as running:
            metadata = (("authorization", "Bearer 0123456789abcdef"),)
            bound = await running.stub.GetInfo(pb.GetInfoRequest(), metadata=metadata)
        return free.limits.max_concurrency_per_token, bound.limits.max_concurrency_per_token

    assert asyncio.run(scenario()) == (0, 3)


def test_embed_reads_pictures_and_carries_codes_over(world: World) -> None:
    """Picture, foreign code and own code in one request: each takes its own way."""

    async def scenario() -> tuple[pb.EmbedResponse, list[tuple[str, int]]]:
        async with world.serving() as running:
            faces = [world.face(102), world.code(51, Space.W_STAR_ID), world.code(25.5)]
            request = pb.EmbedRequest(faces=faces, include_w_plus=True, include_scores=True)
            return await running.stub.Embed(request), list(running.runner.calls)

    reply, calls = asyncio.run(scenario())
    assert reply.space_id == "w_star-test"
    for embedding, byte in zip(reply.embeddings, (102, 51, 25.5), strict=True):
        code = Code.from_message(embedding.code, "code")
        w_plus = Code.from_message(embedding.w_plus, "w_plus")
        assert (code.space, code.space_id) == (Space.W_STAR, "w_star-test")
        assert (w_plus.space, w_plus.space_id) == (Space.W_PLUS, "w_plus-test")
        np.testing.assert_allclose(code.values, world.values(byte, Space.W_STAR), atol=CLOSE)
        np.testing.assert_allclose(w_plus.values, world.values(byte, Space.W_PLUS), atol=CLOSE)
        assert [score.attribute for score in embedding.scores] == list(ATTRIBUTES)
        assert embedding.scores[0].logit == pytest.approx(4 * byte / 255 - 1, abs=CLOSE)
        assert embedding.scores[1].logit == pytest.approx(8 * byte / 255 - 1, abs=CLOSE)
        assert embedding.scores[1].probability == pytest.approx(
            sigmoid(8 * byte / 255 - 1), abs=CLOSE
        )
    assert sorted(calls) == [
        ("classifiers", 1),
        ("encoder", 1),
        ("flow", 2),
        ("flow_id_inverse", 1),
        ("flow_inverse", 1),
    ]
    timings = reply.timings
    assert 0 < timings.stage_ms["decode"] <= timings.total_ms
    assert "encode" not in timings.stage_ms


def test_landmarks_choose_the_part_of_the_picture(world: World) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (80, 100, 3)).astype(np.uint8)
    points = [(40.0, 30.0), (60.0, 32.0), (50.0, 40.0), (42.0, 50.0), (58.0, 51.0)]
    names = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    landmarks = pb.Landmarks(
        **{name: pb.Point(x_px=x, y_px=y) for name, (x, y) in zip(names, points, strict=True)}
    )
    picture = pb.Picture(data=encode(rgb, "PNG"), landmarks=landmarks)

    async def scenario() -> pb.EmbedResponse:
        async with world.serving() as running:
            request = pb.EmbedRequest(faces=[pb.Face(picture=picture)], space=pb.SPACE_W_PLUS)
            reply: pb.EmbedResponse = await running.stub.Embed(request)
            return reply

    code = Code.from_message(asyncio.run(scenario()).embeddings[0].code, "code").values
    expected = encoder_input(rgb, 8, points)
    assert (expected != encoder_input(rgb, 8)).any()
    np.testing.assert_allclose(code[0, :192] * 255, expected.ravel(), atol=1e-4)


def test_embed_runs_only_what_is_asked_for(world: World) -> None:
    async def scenario() -> tuple[pb.EmbedResponse, list[tuple[str, int]]]:
        async with world.serving() as running:
            request = pb.EmbedRequest(faces=[world.code(51), world.code(102)], dtype=pb.DTYPE_F16)
            return await running.stub.Embed(request), list(running.runner.calls)

    reply, calls = asyncio.run(scenario())
    assert calls == []
    assert not reply.embeddings[0].scores
    assert not reply.embeddings[0].HasField("w_plus")
    code = Code.from_message(reply.embeddings[1].code, "code")
    assert code.values.dtype == np.float16
    assert float(code.values[0, 0]) == float(np.float16(0.8))


def test_classify_answers_in_the_order_asked_for(world: World) -> None:
    async def scenario() -> tuple[pb.ClassifyResponse, pb.ClassifyResponse]:
        async with world.serving() as running:
            some = pb.ClassifyRequest(
                faces=[world.face(51), world.code(255)],
                attributes=["Smiling", "Arched_Eyebrows"],
                space=pb.SPACE_W_PLUS,
            )
            every = pb.ClassifyRequest(faces=[world.code(51, half=True)])
            return await running.stub.Classify(some), await running.stub.Classify(every)

    some, every = asyncio.run(scenario())
    assert some.space_id == "w_plus-test"
    first, second = ([score.logit for score in item.scores] for item in some.classifications)
    # In W_PLUS the logit is 2 w - 1, twice that for attribute 1.
    np.testing.assert_allclose(first, [2 * 0.2 - 1, 4 * 0.2 - 1], atol=CLOSE)
    np.testing.assert_allclose(second, [1, 3], atol=CLOSE)
    assert [score.attribute for score in some.classifications[0].scores] == [
        "Smiling",
        "Arched_Eyebrows",
    ]
    assert [score.attribute for score in every.classifications[0].scores] == list(ATTRIBUTES)


def test_a_face_of_a_stream_is_answered_like_one_alone(world: World) -> None:
    """Whatever a face is and whatever is asked: same codes, same scores, under its id."""
    faces = [world.face(102), world.code(51, Space.W_STAR_ID), world.code(25.5, half=True)]
    asked: list[dict[str, Any]] = [
        {},
        {"space": pb.SPACE_W_PLUS, "include_scores": True},
        {"dtype": pb.DTYPE_F16, "include_w_plus": True, "include_scores": True},
    ]

    async def scenario() -> None:
        async with world.serving() as running:
            for i, face in enumerate(faces):
                for j, fields in enumerate(asked):
                    alone = await running.stub.Embed(pb.EmbedRequest(faces=[face], **fields))
                    stream = running.stub.EmbedStream()
                    await stream.write(pb.EmbedStreamRequest(id=f"{i}/{j}", face=face, **fields))
                    await stream.done_writing()
                    found = await stream.read()
                    assert found.id == f"{i}/{j}"
                    assert found.embedding == alone.embeddings[0]
                    assert found.space_id == alone.space_id
                    assert 0 < found.timings.total_ms
                    assert ("decode" in found.timings.stage_ms) == (i == 0)

    asyncio.run(scenario())


def test_many_pictures_of_one_call_keep_their_order(world: World) -> None:
    """More than one turn of a thread: small ones, and one large enough to end a turn."""
    levels = [3, 250, 7, 90, 91, 92, 8, 200]
    sides = [8, 8, 2000, 8, 64, 8, 1500, 8]
    faces = [
        pb.Face(picture=pb.Picture(data=world.picture(level, side)))
        for level, side in zip(levels, sides, strict=True)
    ]

    async def scenario() -> pb.EmbedResponse:
        async with world.serving() as running:
            request = pb.EmbedRequest(faces=faces, space=pb.SPACE_W_PLUS)
            reply: pb.EmbedResponse = await running.stub.Embed(request)
            return reply

    found = [Code.from_message(e.code, "code").values for e in asyncio.run(scenario()).embeddings]
    np.testing.assert_allclose([255 * code[0, 0] for code in found], levels, atol=1e-4)


def test_many_pictures_of_one_call_do_not_hold_up_one_of_another(world: World) -> None:
    """Also where several pictures fit into one turn of a thread."""
    large = pb.Face(picture=pb.Picture(data=world.picture(51, side=400)))

    async def scenario() -> int:
        async with world.serving() as running:
            many = asyncio.ensure_future(running.stub.Embed(pb.EmbedRequest(faces=[large] * 64)))
            await asyncio.sleep(0.01)
            await running.stub.Embed(pb.EmbedRequest(faces=[world.face()]))
            first = running.runner.calls[0]
            await many
            return first[1]

    assert asyncio.run(scenario()) == 1
