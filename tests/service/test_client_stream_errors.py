"""Errors of a stream: of one face as those of a call, and of the stream until it is given up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.service.flaky_server import SPACE_ID, Flaky, flaky

from wstar import errors
from wstar.client import Client
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
from wstar.graphs import Space
from wstar.streams import ATTEMPTS, Ledger


@pytest.fixture
def server() -> Iterator[Flaky]:
    with flaky() as served:
        yield served


RAISED = [
    WstarError("a fault of no other kind"),
    InvalidInput("dtype", "DTYPE_F16", "DTYPE_F32"),
    ImageError("face.picture.data", b"hello", "a JPEG, PNG or WebP file"),
    DependentAttributes("face", ["Male"], "others"),
    LimitExceeded("face.picture", 65, 64, "pixels"),
    SpaceMismatch("face.code.space_id", "w_star-other", SPACE_ID),
    Overloaded("the queue", 0.5),
    DeadlineExceeded("the deadline passed before the work was started"),
    Unauthenticated("no token"),
    ContractMismatch("flow", "w_star", (10, 512), (18, 512)),
    RunnerUnavailable("the engine failed"),
    CheckpointError("model.onnx: no such key"),
    ZeroDivisionError("a fault of the server"),
]


def test_every_exception_is_tried() -> None:
    declared = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    assert {kind for kind in declared if issubclass(kind, WstarError)} == {
        type(error) for error in RAISED if isinstance(error, WstarError)
    }


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_the_error_of_an_item_is_that_of_a_call(server: Flaky, error: Exception) -> None:
    server.refused = {b"1": error}
    server.failures, server.pushback_ms = [error], -1
    with Client(server.target) as client:
        (item,) = client.embed_stream([b"1"])
        with pytest.raises(WstarError) as raised:
            client.embed(b"1")
    assert type(item.error) is type(raised.value)
    assert vars(item.error) == vars(raised.value)
    # A call's error of no known kind also names the server.
    assert str(item.error) in str(raised.value)


def ledger() -> Ledger:
    return Ledger(space=Space.W_STAR, dtype="f32", include_w_plus=False, include_scores=False)


def test_pauses_grow_and_end() -> None:
    asked = ledger()
    pauses = [asked.pause_s(RunnerUnavailable("gone")) for _ in range(ATTEMPTS - 1)]
    # Each is drawn from 20 % around its mean.
    for pause_s, mean_s in zip(pauses, [0.25, 0.75, 2.25, 6.75], strict=True):
        assert 0.8 * mean_s <= pause_s <= 1.2 * mean_s
    with pytest.raises(RunnerUnavailable, match="gone"):
        asked.pause_s(RunnerUnavailable("gone"))
    assert ledger().pause_s(Overloaded("places", 3.0)) == 3.0
    with pytest.raises(LimitExceeded):
        ledger().pause_s(LimitExceeded("faces", 2, 1, "faces"))
