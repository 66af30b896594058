"""Codes on the wire: what goes in comes out, what does not fit is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wstar.codes import Code, CodeArray
from wstar.errors import InvalidInput
from wstar.graphs import Space
from wstar.v1 import wstar_pb2 as pb


@given(
    rows=st.integers(1, 18),
    space=st.sampled_from(Space),
    half=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_code_survives_the_wire(rows: int, space: Space, half: bool, seed: int) -> None:
    numbers = np.random.default_rng(seed).normal(size=(rows, 512))
    values: CodeArray = numbers.astype(np.float16) if half else numbers.astype(np.float32)
    code = Code(values, space, "an id")
    message = pb.Code.FromString(code.to_message().SerializeToString())
    assert len(message.data) == rows * 512 * (2 if half else 4)
    found = Code.from_message(message, "code", rows)
    assert (found.space, found.space_id) == (space, "an id")
    assert found.values.dtype == code.values.dtype
    np.testing.assert_array_equal(found.values, code.values)


def test_an_unspecified_type_is_f32() -> None:
    message = pb.Code(space="SPACE_W_PLUS", data=np.ones(1024, "<f4").tobytes())
    assert Code.from_message(message, "code").values.shape == (2, 512)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("space", {"space": 0}),
        ("space", {"space": 77}),
        ("dtype", {"dtype": 77}),
        ("data", {"data": b""}),
        ("data", {"data": bytes(4 * 1023)}),
        ("data", {"data": bytes(4 * 512)}),
        ("data", {"data": np.full(1024, np.nan, "<f4").tobytes()}),
        ("data", {"data": np.full(1024, np.inf, "<f4").tobytes()}),
    ],
)
def test_a_message_that_is_no_code_is_refused(field: str, change: dict[str, object]) -> None:
    message = pb.Code(space="SPACE_W_STAR", dtype="DTYPE_F32", data=bytes(4 * 1024))
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InvalidInput) as refused:
        Code.from_message(message, "faces[3].code", 2)
    assert refused.value.field == f"faces[3].code.{field}"


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((2, 512), np.float64),
        np.zeros((2, 511), np.float32),
        np.zeros(512, np.float32),
        np.full((2, 512), np.nan, np.float32),
    ],
)
def test_an_array_that_is_no_code_is_refused(values: CodeArray) -> None:
    with pytest.raises(InvalidInput):
        Code(values, Space.W_STAR, "an id")
