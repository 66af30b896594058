"""The client against a real server process over the linear world: numbers computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from wstar.client import Client
from wstar.errors import ImageError, InvalidInput, LimitExceeded, SpaceMismatch
from wstar.geometry import squared_distance_matrix
from wstar.graphs import Space
from wstar.images import decode
from wstar_service.demo.process import ServerProcess

if TYPE_CHECKING:
    from tests.service.conftest import World

# float32 rounding of numbers of size 1 to 10.
CLOSE = 2e-6


@pytest.fixture(scope="module")
def client(repository: Path) -> Iterator[Client]:
    with ServerProcess(repository) as server, Client(server.target, timeout_s=20) as connected:
        yield connected


def sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-logit)))


def test_pictures_become_codes_and_codes_of_another_space(client: Client, world: World) -> None:
    found = client.embed([world.picture(byte) for byte in (51, 102)], include_w_plus=True)
    expected = np.stack([world.values(byte, Space.W_STAR) for byte in (51, 102)])
    np.testing.assert_allclose(found.codes, expected, atol=CLOSE)
    assert found.space_id == world.space_id(Space.W_STAR)
    carried = client.embed([item.code for item in found.items], space=Space.W_STAR_ID, dtype="f16")
    assert carried.codes.dtype == np.float16
    # Half precision keeps 11 bits.
    np.testing.assert_allclose(carried.codes, 2 * expected, rtol=2**-11)
    w_plus = found[1].w_plus
    assert w_plus is not None
    np.testing.assert_allclose(w_plus.values, expected[1] / 2, atol=CLOSE)


def test_distances_of_the_server_are_those_of_geometry(client: Client, world: World) -> None:
    pictures = [world.picture(byte) for byte in (0, 51, 204)]
    codes = client.embed(pictures).codes
    found = client.distance(pictures, pictures, mode="matrix")
    # The matrix form subtracts squares of size 1.
    np.testing.assert_allclose(
        found.squared_distance, squared_distance_matrix(codes, codes), atol=1e-12
    )
    explained = client.distance(pictures[:1], pictures[2:], explain=True)
    whole = explained.shares.sum(-1) + explained.residual
    np.testing.assert_allclose(whole, explained.squared_distance, rtol=1e-9)


def test_probabilities(client: Client, world: World) -> None:
    (scores,) = client.classify(world.picture(102), attributes=["Bald", "Arched_Eyebrows"]).scores
    assert scores["Bald"] == pytest.approx(sigmoid(4 * 102 / 255 - 1), abs=1e-6)
    assert scores["Arched_Eyebrows"] == pytest.approx(sigmoid(8 * 102 / 255 - 1), abs=1e-6)


def test_an_edit_reaches_its_probability_and_holds_another(client: Client, world: World) -> None:
    edit = client.edit(world.picture(51), {"Smiling": 0.9}, preserve=["Male"], strengths=[0.0, 1.0])
    before, after = edit.scores_before, edit.results[1].scores
    assert after["Smiling"] == pytest.approx(0.9, abs=1e-5)
    assert after["Male"] == pytest.approx(before["Male"], abs=1e-6)
    assert edit.results[0].squared_distance_moved == pytest.approx(0.0, abs=1e-12)
    picture = decode(edit.results[0].picture, max_bytes=10_000, max_pixels=100)
    assert picture.shape == (8, 8, 3)
    assert set(picture.ravel().tolist()) == {51}


def test_what_the_server_refuses(client: Client, world: World) -> None:
    with pytest.raises(ImageError, match=r"faces\[0\]\.picture\.data"):
        client.embed(b"no picture")
    with pytest.raises(InvalidInput, match="Smilling"):
        client.classify(world.picture(), attributes=["Smilling"])
    with pytest.raises(InvalidInput, match="faces"):
        client.embed([])
    with pytest.raises(LimitExceeded) as refused:
        client.distance([world.picture()] * 65, [world.picture()] * 65, explain=True)
    assert refused.value.field == "a"
    code = client.embed(world.picture())[0].code
    stranger = type(code)(code.values, code.space, "w_star-of-another-server")
    with pytest.raises(SpaceMismatch):
        client.edit(stranger, {"Smiling": 0.9})


def test_more_faces_than_one_request_may_hold(client: Client, world: World) -> None:
    found = client.embed([world.picture(byte) for byte in range(100)])
    assert len(found) == 100
    assert found.codes[99, 0, 0] == pytest.approx(2 * 99 / 255)


def test_distances_of_more_faces_than_one_request_may_hold(client: Client, world: World) -> None:
    faces = [world.picture(byte) for byte in range(70)]
    found = client.distance(faces, faces, mode="matrix")
    few = client.distance(faces[:64], faces[:64], mode="matrix")
    assert found.squared_distance.shape == (70, 70)
    np.testing.assert_allclose(found.squared_distance[:64, :64], few.squared_distance, atol=1e-12)
    pairs = client.distance(faces, faces[::-1])
    np.testing.assert_allclose(
        pairs.squared_distance, np.diag(found.squared_distance[:, ::-1]), atol=1e-12
    )
    assert np.isnan(found.percentile).all()
    assert found.space_id == world.space_id(Space.W_STAR)
