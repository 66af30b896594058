"""Edits in the linear world and a curved one: codes by hand, budgets kept, pictures reread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.service.conftest import SCALES, FakeRunner

from wstar.attributes import ATTRIBUTES
from wstar.codes import Code
from wstar.geometry import squared_distance
from wstar.graphs import Space
from wstar.images import decode
from wstar.v1 import wstar_pb2 as pb
from wstar_service.budget import MAX_ROUNDS

if TYPE_CHECKING:
    from tests.service.conftest import World

    from wstar_service.runner import Array

# float32 rounding of numbers of size 1 to 10.
CLOSE = 2e-6


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
    # All strengths are one batch; strength 0 is the face itself.
    assert calls == [
        ("encoder", 1),
        ("flow_id", 1),
        ("flow", 1),
        ("flow_id_inverse", 2),
        ("flow", 2),
        ("flow_id", 2),
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
        assert result.scale == 1
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
    assert (result.squared_distance_moved, result.scale) == (0, 1)
    assert not result.HasField("remeasured")
    assert result.picture.startswith(b"RIFF")


def test_several_attributes_add_up(world: World) -> None:
    async def scenario() -> pb.EditResponse:
        async with world.serving() as running:
            request = pb.EditRequest(
                face=world.code(51, Space.W_STAR_ID),
                edits=[
                    pb.AttributeEdit(attribute=ATTRIBUTES[5], step=1.5),
                    pb.AttributeEdit(attribute=ATTRIBUTES[9], step=-0.25),
                ],
                strengths=[0.5, 1, 2],
            )
            reply: pb.EditResponse = await running.stub.Edit(request)
            return reply

    for result in asyncio.run(scenario()).results:
        expected = world.values(51, Space.W_STAR_ID)
        expected[0, [5, 9]] += np.multiply([1.5, -0.25], result.strength)
        found = Code.from_message(result.code, "code").values
        np.testing.assert_allclose(found, expected, atol=CLOSE)


class CurvedRunner(FakeRunner):
    """W_STAR also grows with the cube of w, once `bend` is set: no golden answer knows of it."""

    bend = 0.0

    def _compute(self, graph: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        if graph == "flow":
            w_star = self.w_star(arrays["w"])
            return {"w_star": w_star, "logits": self.world.logits(w_star)}
        return super()._compute(graph, arrays)

    def w_star(self, w: Array) -> Array:
        """W+ to W_STAR."""
        return np.float32(SCALES[Space.W_STAR]) * w + np.float32(self.bend) * w**3


async def edited(
    world: World, request: pb.EditRequest, bend: float = 0.0
) -> tuple[pb.EditResponse, CurvedRunner]:
    """Edit in a world bent so far; the runner remembers the graphs run."""
    runner = CurvedRunner(world)
    async with world.serving(runner) as running:
        runner.bend = bend
        return await running.stub.Edit(request), runner


STRENGTHS = [0.0, 0.01, 0.3, 1.0, -2.0, 40.0, 1e6]


# The inverse of W_STAR is that of the straight world.
@pytest.mark.parametrize(
    ("space", "bend"),
    [*((space, 0.0) for space in Space), (Space.W_STAR_ID, 3.0), (Space.W_PLUS, 3.0)],
)
@pytest.mark.parametrize("budget", [1e-7, 1e-4, 0.02])
def test_a_film_strip_keeps_to_its_budget(
    world: World, space: Space, bend: float, budget: float
) -> None:
    request = pb.EditRequest(
        face=world.code(51, space),
        edits=[pb.AttributeEdit(attribute=ATTRIBUTES[5], step=1.6)],
        strengths=STRENGTHS,
        space=f"SPACE_{space.value}",
        max_squared_distance=budget,
    )
    reply, runner = asyncio.run(edited(world, request, bend))
    last = ("generator", len(STRENGTHS))
    assert [call for call in runner.calls if call[0] == "generator"] == [last]
    assert runner.calls[-1] == last
    before = world.values(51, Space.W_PLUS)
    for strength, result in zip(STRENGTHS, reply.results, strict=True):
        code = Code.from_message(result.code, "code").values
        expected = world.values(51, space)
        expected[0, 5] += 1.6 * strength * result.scale
        np.testing.assert_allclose(code, expected, atol=CLOSE)
        # Measured again, from the code of the reply: float32 as above, over one number of 2048.
        after = code / np.float32(SCALES[space])
        moved = squared_distance(runner.w_star(after), runner.w_star(before))
        assert result.squared_distance_moved == pytest.approx(float(moved), rel=1e-4, abs=1e-12)
        assert result.squared_distance_moved <= budget
        assert 0 < result.scale <= 1
        assert result.scale == 1 or result.squared_distance_moved >= 0.99 * budget
    assert [result.scale < 1 for result in reply.results[-2:]] == [True, True]
    assert reply.results[0].scale == 1
    assert reply.results[0].code == request.face.code


def test_a_budget_may_bring_back_an_edit_that_overflows(world: World) -> None:
    """A million million steps leave float32 in the curved world; a share of them does not."""
    request = pb.EditRequest(
        face=world.code(51, Space.W_STAR_ID),
        edits=[pb.AttributeEdit(attribute=ATTRIBUTES[5], step=1e6)],
        strengths=[1e6, 1e-7],
        max_squared_distance=0.01,
    )
    reply, _ = asyncio.run(edited(world, request, bend=1e6))
    for result in reply.results:
        assert 0.0099 <= result.squared_distance_moved <= 0.01
        assert 0 < result.scale < 1


def test_a_budget_below_the_rounding_of_codes_gives_back_the_face(world: World) -> None:
    request = pb.EditRequest(
        face=world.face(77),
        edits=[pb.AttributeEdit(attribute=ATTRIBUTES[5], target_probability=0.9)],
        max_squared_distance=1e-40,
    )
    reply, runner = asyncio.run(edited(world, request))
    (result,) = reply.results
    assert result.squared_distance_moved == 0
    assert result.scale < 1e-6
    code = Code.from_message(result.code, "code").values
    np.testing.assert_allclose(code, world.values(77, Space.W_STAR_ID), atol=CLOSE)
    assert list(result.scores) == list(reply.scores_before)
    assert decode(result.picture, max_bytes=10**6, max_pixels=64)[0, 0, 0] == 77
    # Before and after, and the whole edit; then two graphs a round.
    assert len(runner.calls) <= 7 + 2 * MAX_ROUNDS


@pytest.mark.parametrize("space", list(Space))
def test_remeasured_is_what_the_encoder_sees_in_the_picture(world: World, space: Space) -> None:
    """The picture holds bytes, so the scores read from it differ from those of the code."""
    request = pb.EditRequest(
        face=world.face(51),
        edits=[pb.AttributeEdit(attribute=ATTRIBUTES[5], step=1.6)],
        strengths=[0, 0.123, 9],
        space=f"SPACE_{space.value}",
        remeasure=True,
    )

    reply, runner = asyncio.run(edited(world, request))
    assert runner.calls.count(("encoder", 3)) == 1
    assert reply.timings.stage_ms["decode"] > 0
    assert reply.timings.stage_ms["encode"] > 0
    scale = SCALES[space]
    for result in reply.results:
        seen = decode(result.picture, max_bytes=10**6, max_pixels=64).ravel() / 255
        read = result.remeasured
        assert [score.attribute for score in read.scores] == list(ATTRIBUTES)
        assert read.scores[5].logit == pytest.approx(2 * scale * seen[5] - 1, abs=CLOSE)
        moved = np.sum((2 * (seen - 51 / 255)) ** 2) / 2048
        assert read.squared_distance_moved == pytest.approx(moved, abs=1e-9)
    last = reply.results[2]
    # What the generator could not draw: a byte ends at 255.
    assert last.remeasured.scores[5].logit == pytest.approx(2 * scale - 1, abs=CLOSE)
    assert last.scores[5].logit > last.remeasured.scores[5].logit + 1
