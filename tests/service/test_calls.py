"""Every call against the linear world: numbers computed by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from wstar.attributes import ATTRIBUTES
from wstar.codes import Code
from wstar.graphs import Space
from wstar.images import decode, encode, encoder_input
from wstar.v1 import wstar_pb2 as pb

if TYPE_CHECKING:
    from tests.service.conftest import World

# float32 rounding of numbers of size 1 to 10.
CLOSE = 2e-6


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_info_says_what_is_served(world: World) -> None:
    async def scenario() -> pb.GetInfoResponse:
        async with world.serving(max_batch=7) as running:
            reply: pb.GetInfoResponse = await running.stub.GetInfo(pb.GetInfoRequest())
            return reply

    info = asyncio.run(scenario())
    assert [space.space for space in info.spaces] == [1, 2, 3]
    assert info.spaces[1].space_id == "w_star_id-test"
    assert dict(info.spaces[0].evaluation) == {"pearson": 0.75}
    assert dict(info.spaces[0].labels) == {"world": "linear"}
    assert tuple(info.attributes) == ATTRIBUTES
    assert (info.n, info.resolution, info.encoder_side, info.runner) == (4, 8, 8, "fake")
    assert info.limits.max_batch == 7
    assert info.version


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
    assert 0 < timings.graphs_ms <= timings.total_ms
    assert 0 < timings.decode_ms <= timings.total_ms


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


def test_step_edit_moves_one_number_and_the_picture(world: World) -> None:
    async def scenario() -> tuple[pb.EditResponse, list[tuple[str, int]]]:
        async with world.serving() as running:
            request = pb.EditRequest(
                face=world.face(51),
                edits=[pb.AttributeEdit(attribute=ATTRIBUTES[5], step=1.6)],
                strengths=[0, 1, -0.5],
            )
            return await running.stub.Edit(request), list(running.runner.calls)

    reply, calls = asyncio.run(scenario())
    assert reply.space_id == "w_star_id-test"
    assert reply.scores_before[5].logit == pytest.approx(2 * 0.8 - 1, abs=CLOSE)
    assert [result.strength for result in reply.results] == [0, 1, -0.5]
    # All strengths are one batch; flow measures the face before together with them.
    assert calls == [
        ("encoder", 1),
        ("flow_id", 1),
        ("flow_id_inverse", 3),
        ("flow_id", 3),
        ("flow", 4),
        ("generator", 3),
    ]
    for result in reply.results:
        moved = 1.6 * result.strength
        code = Code.from_message(result.code, "code").values
        expected = world.values(51, Space.W_STAR_ID)
        expected[0, 5] += moved
        np.testing.assert_allclose(code, expected, atol=CLOSE)
        assert result.code.space == pb.SPACE_W_STAR_ID
        assert result.scores[5].logit == pytest.approx(2 * (0.8 + moved) - 1, abs=CLOSE)
        assert result.scores[6].logit == pytest.approx(2 * 0.8 - 1, abs=CLOSE)
        # W_STAR is W_STAR_ID divided by 2.
        assert result.squared_distance_moved == pytest.approx((moved / 2) ** 2 / 2048, abs=1e-9)
        picture = decode(result.picture, max_bytes=10**6, max_pixels=64).ravel()
        assert picture[5] == round(min(1.0, max(0.0, 0.2 + moved / 4)) * 255)
        assert picture[6] == 51


def test_targeted_edit_reaches_the_probability_and_holds_the_rest(world: World) -> None:
    async def scenario() -> pb.EditResponse:
        async with world.serving() as running:
            request = pb.EditRequest(
                face=world.code(51),
                edits=[pb.AttributeEdit(attribute=ATTRIBUTES[0], target_probability=0.9)],
                preserve=[ATTRIBUTES[1]],
                space=pb.SPACE_W_STAR,
                format=pb.IMAGE_FORMAT_JPEG,
            )
            reply: pb.EditResponse = await running.stub.Edit(request)
            return reply

    reply = asyncio.run(scenario())
    (result,) = reply.results
    assert result.strength == 1
    assert result.scores[0].probability == pytest.approx(0.9, abs=1e-6)
    for k in range(1, 40):
        assert result.scores[k].logit == pytest.approx(reply.scores_before[k].logit, abs=1e-5)
    # Attribute 1 reads numbers 0 and 1: holding it moves number 1 back by what number 0 gained.
    change = (float(np.log(9)) - (4 * 0.2 - 1)) / 2
    code = Code.from_message(result.code, "code").values
    assert code[0, 0] == pytest.approx(0.4 + change, abs=CLOSE)
    assert code[0, 1] == pytest.approx(0.4 - change, abs=CLOSE)
    assert result.squared_distance_moved == pytest.approx(2 * change**2 / 2048, rel=1e-5)
    assert result.picture.startswith(b"\xff\xd8\xff")


def test_edit_without_edits_renders_the_face(world: World) -> None:
    async def scenario() -> pb.EditResponse:
        async with world.serving() as running:
            request = pb.EditRequest(face=world.face(77), format=pb.IMAGE_FORMAT_WEBP)
            reply: pb.EditResponse = await running.stub.Edit(request)
            return reply

    (result,) = asyncio.run(scenario()).results
    assert result.squared_distance_moved == pytest.approx(0, abs=1e-12)
    assert result.picture.startswith(b"RIFF")
