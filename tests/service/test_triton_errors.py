"""What Triton's client can raise, each turned into an error of wstar."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.utils
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc._utils import get_cancelled_error, get_error_grpc
from tritonclient.utils import InferenceServerException

from wstar.errors import DeadlineExceeded, Overloaded, RunnerUnavailable, WstarError
from wstar_service.triton_errors import Failure, failure

OTHERWISE = (RunnerUnavailable, False)
EXPECTED: dict[str, tuple[type[WstarError], bool]] = {
    "DEADLINE_EXCEEDED": (DeadlineExceeded, False),
    "RESOURCE_EXHAUSTED": (Overloaded, False),
    "UNAVAILABLE": (RunnerUnavailable, True),
    "NOT_FOUND": (RunnerUnavailable, True),
    "INVALID_ARGUMENT": (RunnerUnavailable, True),
    "UNIMPLEMENTED": (RunnerUnavailable, True),
    "UNAUTHENTICATED": (RunnerUnavailable, True),
    "PERMISSION_DENIED": (RunnerUnavailable, True),
}


def translated(error: InferenceServerException) -> Failure:
    return failure("graph 'flow'", error.status(), error.message())


def raised(code: grpc.StatusCode, details: str = "details") -> InferenceServerException:
    """What the client makes of a call that ended with a status."""
    empty = grpc.aio.Metadata()
    error: InferenceServerException = get_error_grpc(
        grpc.aio.AioRpcError(code, empty, empty, details, "debug")
    )
    return error


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_status_has_its_error(code: grpc.StatusCode) -> None:
    found = translated(raised(code))
    kind, lost = EXPECTED.get(code.name, OTHERWISE)
    assert (type(found.error), found.lost) == (kind, lost)
    assert "graph 'flow'" in str(found.error)
    if kind is RunnerUnavailable:
        assert f"Triton answered {code.name}: details" in str(found.error)


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        # As tritonserver 2.51 words them; the tests on the real server meet both.
        ("[request id: <id_unknown>] Exceeds maximum queue size", Overloaded),
        ("Request timeout expired", DeadlineExceeded),
    ],
)
def test_an_unavailable_that_means_a_queue_does_not_mean_lost(
    details: str, kind: type[WstarError]
) -> None:
    found = translated(raised(grpc.StatusCode.UNAVAILABLE, details))
    assert (type(found.error), found.lost) == (kind, False)


def test_the_client_raises_one_kind_of_exception() -> None:
    kinds = {
        value
        for module in (tritonclient.grpc, tritonclient.grpc.aio, tritonclient.utils)
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, Exception) and value.__module__.startswith("tritonclient")
    }
    assert kinds == {InferenceServerException}


def test_what_the_client_refuses_itself() -> None:
    given = InferInput("w", [1, 2], "FP32")
    refusals: tuple[Callable[[], object], ...] = (
        lambda: given.set_data_from_numpy([1.0]),
        lambda: given.set_data_from_numpy(np.zeros((1, 2))),
        lambda: given.set_data_from_numpy(np.zeros((1, 3), np.float32)),
        lambda: InferRequestedOutput("w", class_count=1).set_shared_memory("region", 1),
    )
    for refuse in refusals:
        with pytest.raises(InferenceServerException) as caught:
            refuse()
        found = translated(caught.value)
        assert (type(found.error), found.lost) == OTHERWISE
        assert "Triton answered the client: " in str(found.error)
    found = translated(get_cancelled_error())
    assert (type(found.error), found.lost) == OTHERWISE


@pytest.mark.parametrize("status", [None, "", "400", "StatusCode.NEW_IN_TOMORROWS_GRPC"])
def test_an_unknown_status_is_no_reason_to_fall(status: str | None) -> None:
    found = failure("graph 'flow'", status, None)
    assert (type(found.error), found.lost) == OTHERWISE
