"""The client against a real server process over the linear world: numbers computed by hand."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.service.flaky_server import Flaky, code, flaky
from tests.service.triton_process import DEMO

from wstar.async_client import AsyncClient
from wstar.client import Client
from wstar.codes import Code
from wstar.errors import ImageError, InvalidInput, LimitExceeded, SpaceMismatch
from wstar.geometry import squared_distance_matrix
from wstar.graphs import Space
from wstar.images import decode
from wstar_service import demo
from wstar_service.demo.process import ServerProcess

if TYPE_CHECKING:
    from tests.service.conftest import World

SAMPLES = Path(demo.__file__).with_name("pictures")
# float32 rounding of numbers of size 1 to 10.
CLOSE = 2e-6


@pytest.fixture(scope="module")
def client(repository: Path) -> Iterator[Client]:
    with ServerProcess(repository) as server, Client(server.target, timeout_s=20) as connected:
        yield connected


@pytest.fixture
def server() -> Iterator[Flaky]:
    with flaky() as served:
        yield served


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
    assert [result.scale for result in edit.results] == [1.0, 1.0]
    assert edit.results[0].remeasured is None
    picture = decode(edit.results[0].picture, max_bytes=10_000, max_pixels=100)
    assert picture.shape == (8, 8, 3)
    assert set(picture.ravel().tolist()) == {51}


def test_an_edit_within_a_budget_measured_again(client: Client, world: World) -> None:
    free = client.edit(world.picture(51), {"Smiling": 0.9}).results[0]
    budget = free.squared_distance_moved / 4
    held = client.edit(
        world.picture(51), {"Smiling": 0.9}, max_squared_distance=budget, remeasure=True
    ).results[0]
    assert held.squared_distance_moved <= budget
    # Distance grows with the square of an edit; the server finds the share to within 1 %.
    assert held.scale == pytest.approx(0.5, rel=0.011)
    assert held.remeasured is not None
    assert held.remeasured.scores.attributes == held.scores.attributes
    # One number moves, drawn in whole levels: by half a level at most, twice that in W_STAR.
    drawn, meant = (
        np.sqrt(2048 * result.squared_distance_moved) for result in (held.remeasured, held)
    )
    assert drawn == pytest.approx(meant, abs=2 * 0.5 / 255 + 1e-5)


def test_a_stream_gives_what_a_call_gives(client: Client, world: World) -> None:
    pictures = [world.picture(byte) for byte in range(200)]
    found = {item.id: item for item in client.embed_stream(pictures, include_scores=True)}
    assert sorted(found) == list(range(200))
    together = client.embed(pictures, include_scores=True)
    for place, expected in enumerate(together.items):
        embedding = found[place].embedding
        assert embedding is not None and embedding.scores is not None
        assert expected.scores is not None
        # Batches of another size may add up in another order.
        np.testing.assert_allclose(embedding.code.values, expected.code.values, atol=CLOSE)
        np.testing.assert_allclose(embedding.scores.logits, expected.scores.logits, atol=1e-5)
        assert embedding.code.space_id == together.space_id
    assert found[0].timings.total_ms > 0
    stages = {name for item in found.values() for name in item.timings.stage_ms}
    assert {"decode", "encoder", "flow"} <= stages


def test_one_bad_face_does_not_end_a_stream(client: Client, world: World) -> None:
    faces = [("good", world.picture()), ("bad", b"no picture"), ("good", world.picture())]
    found = list(client.embed_stream(faces))
    (bad,) = (item for item in found if item.id == "bad")
    assert type(bad.error) is ImageError
    assert bad.error.field == "face.picture.data"
    assert [item.error for item in found if item.id == "good"] == [None, None]


def test_info_tells_limits_and_capabilities(client: Client) -> None:
    info = client.info()
    assert set(info.capabilities) == {"embed", "distance", "classify", "edit"}
    limits = vars(info.limits)
    assert all(value > 0 for name, value in limits.items() if name != "max_concurrency_per_token")


def test_timings_name_each_stage(client: Client, world: World) -> None:
    timings = client.embed([world.picture(1), world.picture(2)]).timings
    assert {"decode", "encoder", "flow"} <= set(timings.stage_ms)
    assert 0 < timings.total_ms


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


def test_codes_beyond_a_request_never_leave(server: Flaky) -> None:
    codes = [code(number) for number in range(20)]
    pictures = [bytes(number) for number in range(20)]
    with Client(server.target) as client:
        found = client.distance(codes, codes, mode="matrix")
        assert server.requests == []
        mixed = client.distance([*codes[:10], *pictures[10:]], codes, mode="matrix")
        # At most four faces a request: only the pictures travel.
        assert [len(request.faces) for request in server.requests] == [4, 4, 2]
        halves = [Code(item.values.astype(np.float16), item.space, item.space_id) for item in codes]
        pairs = client.distance(codes * 6, halves[::-1] * 6)
        few = client.distance(codes[:10], codes[:10])
    expected = np.subtract.outer(range(20), range(20)) ** 2.0
    np.testing.assert_allclose(found.squared_distance, expected, atol=1e-9)
    np.testing.assert_allclose(mixed.squared_distance, expected, atol=1e-9)
    np.testing.assert_array_equal(pairs.squared_distance, np.tile(np.diag(expected[:, ::-1]), 6))
    assert found.timings.total_ms == 0.0
    assert (mixed.timings.total_ms, mixed.timings.stage_ms) == (10.0, {"encoder": 3.0})
    assert np.isnan(found.percentile).all()
    # More codes than faces are allowed, and not too many distances: the server knows percentiles.
    assert few.percentile.tolist() == [50.0] * 10


def test_codes_that_the_server_would_refuse_are_refused_here(server: Flaky) -> None:
    codes = [code(number) for number in range(120)]
    stranger = code(1, "w_star-other")
    short = Code(codes[0].values[:1], codes[0].space, codes[0].space_id)
    with Client(server.target) as client:
        with pytest.raises(SpaceMismatch, match="w_star-other") as mismatch:
            client.distance(codes, [*codes[:-1], stranger])
        assert mismatch.value.field == "b[119].code.space_id"
        with pytest.raises(InvalidInput, match="1 x 512") as wrong:
            client.distance([short, *codes[1:]], codes)
        assert wrong.value.field == "a[0].code.data"
        with pytest.raises(InvalidInput, match="b: found '3 faces', allowed: 120"):
            client.distance(codes, codes[:3])
        for options in ({"explain": True}, {"ignore": ["Male"]}):
            with pytest.raises(LimitExceeded, match="at most 100 distances with ignore") as many:
                client.distance(codes, codes, **options)
            assert (many.value.found, many.value.limit) == (120, 100)
        assert server.requests == []
        # Places count in the caller's list, also where codes stay behind.
        server.failures = [ImageError("faces[1].picture.data", b"x", "a picture")]
        with pytest.raises(ImageError, match=r"^a\[7\]\.picture\.data") as bad:
            client.distance([*codes[:5], b"1", codes[6], b"x"], codes[:1], mode="matrix")
        assert bad.value.field == "a[7].picture.data"


def test_what_an_edit_asks_for_arrives(server: Flaky) -> None:
    with Client(server.target) as client:
        held = client.edit(b"1", max_squared_distance=0.25, remeasure=True).results[0]
        free = client.edit(b"1").results[0]
    assert server.requests[0].max_squared_distance == 0.25
    assert (held.scale, free.scale) == (0.5, 1.0)
    assert held.remeasured is not None
    assert held.remeasured.squared_distance_moved == 3.0
    assert free.remeasured is None


def test_the_examples_of_both_clients_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the demo repository, with two of its own faces."""
    for name, sample in zip(("ann.png", "bob.png"), sorted(SAMPLES.glob("*.png")), strict=False):
        (tmp_path / name).write_bytes(sample.read_bytes())
    monkeypatch.chdir(tmp_path)
    with ServerProcess(DEMO) as server:
        for kind in (Client, AsyncClient):
            names = {"TARGET": server.target, kind.__name__: kind, "asyncio": asyncio}
            example = doctest.DocTestParser().get_doctest(
                str(kind.__doc__), names, kind.__name__, None, None
            )
            assert example.examples
            said: list[str] = []
            ran = doctest.DocTestRunner().run(example, out=said.append)
            assert ran.failed == 0, "".join(said)
