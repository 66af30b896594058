"""The client against canned replies: what it sends, what it returns, what it raises."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from wstar import errors
from wstar.client import Client
from wstar.codes import Code
from wstar.errors import (
    CheckpointError,
    ContractMismatch,
    DeadlineExceeded,
    DependentAttributes,
    ImageError,
    InvalidInput,
    LimitExceeded,
    Overloaded,
    RunnerUnavailable,
    SpaceMismatch,
    Unauthenticated,
    WstarError,
)
from wstar.faces import UnalignedPicture
from wstar.graphs import Space
from wstar.v1 import wstar_pb2 as pb

if TYPE_CHECKING:
    from tests.contract.conftest import Canned


@pytest.fixture
def client(canned: Canned) -> Iterator[Client]:
    with Client(canned.target, timeout_s=20) as connected:
        yield connected


def test_info_is_read_whole(client: Client) -> None:
    info = client.info()
    assert (info.version, info.runner, info.n) == ("1.2.3", "canned runner", 2)
    assert (info.resolution, info.encoder_side) == (64, 32)
    assert info.attributes == ("Smiling", "Male", "Young")
    assert vars(info.limits) == {
        "max_image_bytes": 1000,
        "max_image_pixels": 2000,
        "max_batch": 3,
        "max_concurrency": 4,
        "max_message_bytes": 200_000,
        "max_queue": 8,
        "max_concurrency_per_token": 0,
        "max_stream_in_flight": 2,
        "max_distances": 1000,
    }
    (space,) = info.spaces
    assert (space.space, space.space_id) == (Space.W_STAR, "w_star-canned")
    assert (space.evaluation, space.labels) == ({"pearson": 0.75}, {"world": "canned"})


def test_a_face_is_a_path_bytes_landmarks_or_a_code(
    client: Client, canned: Canned, tmp_path: Path
) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(b"12345")
    code = Code(np.full((2, 512), 7.0, np.float16), Space.W_PLUS, "an id")
    points = [(1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (9.0, 10.0)]
    for face in (path, str(path), b"12345", UnalignedPicture(path, points), code):
        client.embed(face)
    faces = [request.faces[0] for request in canned.requests]
    plain = pb.Face(picture=pb.Picture(data=b"12345"))
    assert faces[:3] == [plain] * 3
    assert faces[3].picture.data == b"12345"
    landmarks = faces[3].picture.landmarks
    assert (landmarks.left_eye.x_px, landmarks.left_eye.y_px) == (1.0, 2.0)
    assert (landmarks.right_mouth.x_px, landmarks.right_mouth.y_px) == (9.0, 10.0)
    assert faces[4].code == code.to_message()


def test_landmarks_are_five_points() -> None:
    with pytest.raises(InvalidInput, match="landmarks"):
        UnalignedPicture(b"", [(0.0, 0.0)] * 4)


def test_a_missing_file_is_an_os_error_and_nothing_is_sent(client: Client, canned: Canned) -> None:
    with pytest.raises(FileNotFoundError):
        client.embed(["missing.png"])
    assert canned.requests == []


def test_many_faces_travel_in_as_many_requests_as_the_limits_ask(
    client: Client, canned: Canned
) -> None:
    """Limits: 3 faces, 200 kB; the fifth and sixth picture do not fit into one message."""
    sizes = [10, 11, 12, 13, 90_000, 90_001, 14]
    found = client.embed([bytes(size) for size in sizes], include_scores=True)
    assert found.codes[:, 0, 0].tolist() == sizes
    assert [len(request.faces) for request in canned.requests] == [3, 2, 2]
    assert len(found) == 7
    assert found.space_id == "w_star-canned"
    assert (found.timings.total_ms, found.timings.stage_ms) == (6.0, {"encoder": 3.0})
    scores = found[6].scores
    assert scores is not None
    assert dict(scores) == pytest.approx(
        {"Smiling": 0.5, "Male": 0.8808, "Young": 0.1192}, abs=1e-4
    )
    with pytest.raises(KeyError):
        scores["Bald"]


def test_an_error_counts_faces_from_the_start_of_the_list(client: Client, canned: Canned) -> None:
    faces = [b"x"] * 4
    canned.error = ImageError("faces[0].picture.data", b"x", "a picture")
    with pytest.raises(ImageError, match=r"^faces\[0\]"):
        client.embed(faces)
    requests = len(canned.requests)

    class FailsLater(list[Any]):
        def append(self, request: object) -> None:
            super().append(request)
            canned.error = (
                ImageError("faces[0].picture.data", b"x", "a picture") if len(self) == 2 else None
            )

    assert requests == 1
    canned.requests = FailsLater()
    with pytest.raises(ImageError, match=r"^faces\[3\]\.picture") as refused:
        client.classify(faces)
    assert refused.value.field == "faces[3].picture.data"


def test_embed_passes_its_options_on(client: Client, canned: Canned) -> None:
    found = client.embed(b"1", space=Space.W_STAR_ID, dtype="f16", include_w_plus=True)
    (request,) = canned.requests
    assert (request.space, request.dtype) == (pb.SPACE_W_STAR_ID, pb.DTYPE_F16)
    assert found[0].w_plus is not None
    assert found[0].scores is None


def test_distances_of_pairs(client: Client, canned: Canned) -> None:
    found = client.distance([b"1", b"2"], [b"3", b"4"], ignore=["Male"], explain=True)
    (request,) = canned.requests
    assert list(request.ignore_attributes) == ["Male"]
    assert (request.space, request.mode) == (pb.SPACE_W_STAR, pb.DISTANCE_MODE_PAIRS)
    assert found.squared_distance.tolist() == [0.0, 1.0]
    assert found.attributes == ("Male",)
    assert found.shares.tolist() == [[0.0], [0.5]]
    assert found.residual.tolist() == [0.0, 0.5]


def test_distances_of_a_matrix(client: Client) -> None:
    found = client.distance([b"1", b"2"], [b"3", b"4", b"5"], mode="matrix", space=Space.W_PLUS)
    assert found.squared_distance.tolist() == [[0.0, 1.0, 4.0], [9.0, 16.0, 25.0]]
    assert found.distance.tolist() == found.percentile.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.shares.shape == (2, 3, 0)


def test_classify(client: Client, canned: Canned) -> None:
    found = client.classify([b"", b"1"], attributes=["Smiling", "Male"])
    assert list(canned.requests[0].attributes) == ["Smiling", "Male"]
    assert [scores["Smiling"] for scores in found.scores] == pytest.approx([0.5, 0.7311], abs=1e-4)
    assert found[1].logits.tolist() == [1.0, -1.0]
    assert len(found) == 2


def test_edit_to_probabilities(client: Client, canned: Canned) -> None:
    found = client.edit(
        b"1", {"Smiling": 0.9}, preserve=["Male"], strengths=[0, 0.5], image_format="webp"
    )
    (request,) = canned.requests
    assert request.edits[0] == pb.AttributeEdit(attribute="Smiling", target_probability=0.9)
    assert (request.space, request.format) == (pb.SPACE_W_STAR_ID, pb.IMAGE_FORMAT_WEBP)
    assert list(request.preserve) == ["Male"]
    assert [result.picture for result in found.results] == [b"0", b"0.5"]
    assert found.results[1].squared_distance_moved == 0.25
    assert found.results[1].code.values[0, 0] == 0.5
    assert found.scores_before["Smiling"] == 0.5


def test_edit_by_steps(client: Client, canned: Canned) -> None:
    client.edit(b"1", steps={"Male": -2.0, "Young": 1.0}, space=Space.W_PLUS)
    (request,) = canned.requests
    assert [(edit.attribute, edit.step) for edit in request.edits] == [("Male", -2.0), ("Young", 1)]
    with pytest.raises(InvalidInput, match="steps"):
        client.edit(b"1", {"Male": 0.5}, steps={"Young": 1.0})


RAISED = [
    WstarError("a fault of no other kind"),
    InvalidInput("edits[0].step", float("nan"), "a finite number"),
    ImageError("faces[0].picture.data", b"hello", "a JPEG, PNG or WebP file"),
    DependentAttributes("edits", ["Male", "No_Beard"], "hyperplanes independent of each other"),
    LimitExceeded("faces", 65, 64, "faces"),
    SpaceMismatch("a[0].code.space_id", "w_star-other", "w_star-canned"),
    Overloaded("the limit of 16 calls at once", 0.5),
    DeadlineExceeded("the deadline passed before the work was started"),
    ContractMismatch("flow", "w_star", (10, 512), (18, 512)),
    RunnerUnavailable("the engine failed"),
    CheckpointError("model.onnx: no such key"),
    Unauthenticated("no token"),
]


def test_every_exception_is_tried() -> None:
    declared = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    assert {type(error) for error in RAISED} == {
        kind for kind in declared if issubclass(kind, WstarError)
    }


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_exception_of_the_server_is_raised_by_the_client(
    client: Client, canned: Canned, error: WstarError
) -> None:
    canned.error = error
    with pytest.raises(WstarError) as raised:
        client.edit(b"1")
    assert type(raised.value) is type(error)
    assert str(error) in str(raised.value)
    assert getattr(raised.value, "field", None) == getattr(error, "field", None)
    if isinstance(error, Overloaded):
        assert vars(raised.value)["retry_after_s"] == error.retry_after_s
    assert vars(raised.value)["request_id"] == "request-1"


def test_a_fault_of_the_server_tells_the_request_id_only(client: Client, canned: Canned) -> None:
    canned.error = ZeroDivisionError("secret")
    with pytest.raises(WstarError, match="INTERNAL.*request-1") as raised:
        client.edit(b"1")
    assert "secret" not in str(raised.value)


def test_no_server_is_unavailable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{closed.getsockname()[1]}"
        with Client(target, timeout_s=20) as client, pytest.raises(RunnerUnavailable, match=target):
            client.info()


def test_a_slow_server_passes_the_deadline(canned: Canned) -> None:
    canned.gate.clear()
    with Client(canned.target, timeout_s=0.2) as client, pytest.raises(DeadlineExceeded):
        client.edit(b"1")


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_a_timeout_that_is_none_is_refused(timeout_s: float) -> None:
    with pytest.raises(InvalidInput, match="timeout_s: found .* allowed: above 0 to 86400"):
        Client(timeout_s=timeout_s)


def test_a_message_above_the_limit_of_the_server_says_both_sizes(client: Client) -> None:
    with pytest.raises(LimitExceeded) as refused:
        client.embed(bytes(300_000))
    assert refused.value.found > 300_000
    assert refused.value.limit == 200_000


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("dtype", lambda client: client.embed(b"1", dtype="f64")),
        ("mode", lambda client: client.distance(b"1", b"2", mode="x")),
        ("image_format", lambda client: client.edit(b"1", image_format="gif")),
        ("space", lambda client: client.embed(b"1", space="W_STAR")),
        ("space", lambda client: client.edit(b"1", space="W_STAR")),
        ("preserve", lambda client: client.edit(b"1", preserve="Male")),
        ("preserve", lambda client: client.edit(b"1", preserve=[1])),
        ("ignore", lambda client: client.distance(b"1", b"2", ignore="Male")),
        ("attributes", lambda client: client.classify(b"1", attributes="Male")),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_sent(
    client: Client, canned: Canned, field: str, call: Callable[[Client], object]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        call(client)
    assert refused.value.field == field
    assert refused.value.allowed
    assert canned.requests == []


def test_a_closed_client_says_so(canned: Canned) -> None:
    with Client(canned.target) as client:
        pass
    for call in (client.info, lambda: client.embed([b"1", b"2"]), lambda: client.edit(b"1")):
        with pytest.raises(InvalidInput, match="client: found 'closed'"):
            call()


def test_distances_beyond_one_request_are_computed_from_codes(
    client: Client, canned: Canned
) -> None:
    """Limits: 3 faces, 200 kB; a code of the canned server is the length of its picture."""
    a, b = [bytes(size) for size in (1, 2, 3, 4)], [bytes(size) for size in (2, 4, 6, 8)]
    matrix = client.distance(a, b, mode="matrix")
    expected = [[float((i - j) ** 2) for j in (2, 4, 6, 8)] for i in (1, 2, 3, 4)]
    np.testing.assert_allclose(matrix.squared_distance, expected, atol=1e-12)
    np.testing.assert_allclose(matrix.distance, np.sqrt(expected), atol=1e-6)
    assert np.isnan(matrix.percentile).all()
    assert (matrix.shares.shape, matrix.residual.shape) == ((4, 4, 0), (4, 4))
    assert matrix.timings.total_ms == 8.0
    assert [len(request.faces) for request in canned.requests] == [3, 1, 3, 1]
    assert client.distance(a, b).squared_distance.tolist() == [1.0, 4.0, 9.0, 16.0]
    # Four pictures that are too long together, though not too many.
    large = [bytes(50_000), bytes(50_001)]
    assert client.distance(large, large[::-1]).squared_distance.tolist() == [1.0, 1.0]
    canned.requests.clear()
    client.distance(a, a, mode="matrix")
    assert len(canned.requests) == 2


def test_what_distances_beyond_one_request_cannot_be(client: Client, canned: Canned) -> None:
    faces = [b"1"] * 4
    for options in ({"ignore": ["Male"]}, {"explain": True}):
        with pytest.raises(LimitExceeded, match="at most 3 faces with ignore or explain") as error:
            client.distance(faces[:2], faces, mode="matrix", **options)
        assert error.value.field == "b"
    large = [bytes(90_000)] * 2
    with pytest.raises(LimitExceeded, match="at most 200000 bytes"):  # gRPC's own refusal
        client.distance(large, large, explain=True)
    with pytest.raises(InvalidInput, match="b: found '3 faces', allowed: 4"):
        client.distance(faces, faces[:3])
    assert canned.requests == []
    canned.error = ImageError("faces[0].picture.data", b"x", "a picture")
    with pytest.raises(ImageError, match=r"^a\[0\]\.picture\.data") as refused:
        client.distance(faces, faces[:1], mode="matrix")
    assert refused.value.field == "a[0].picture.data"
