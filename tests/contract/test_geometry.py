"""Distances: what section by section of the mathematics promises, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wstar import geometry
from wstar.errors import DependentAttributes, InvalidInput
from wstar.geometry import (
    explained_distance,
    logit,
    percentile,
    sigmoid,
    squared_distance,
    squared_distance_ignoring,
    squared_distance_matrix,
)
from wstar.hyperplanes import Hyperplanes

Float64 = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def assert_close(found: Any, expected: Any) -> None:  # noqa: ANN401
    """Equal up to rounding: random problems here have condition numbers below 1e4."""
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def random_codes(rng: np.random.Generator, *shape: int) -> Float64:
    """Codes (..., 3, 8) whose rows differ in spread by a factor of ten, as W+ rows do."""
    return np.asarray(rng.normal(size=(*shape, 3, 8)) * [[0.8], [3.0], [10.0]])


def random_hyperplanes(rng: np.random.Generator) -> tuple[Float64, Hyperplanes]:
    """A (K, 24) of correlated rows and very different norms, and what a service sees of it."""
    k = int(rng.integers(2, 9))
    rows = rng.normal(size=(k, 24)) + 0.5 * rng.normal(size=24)
    rows *= 10.0 ** rng.uniform(-3, 2, size=(k, 1))
    gram = rows @ rows.T
    names = tuple(f"a{i}" for i in range(k))
    return rows, Hyperplanes(names, np.sqrt(np.diag(gram)), rng.normal(size=k), gram, 24)


def changed(plain: Hyperplanes, **parts: Any) -> Hyperplanes:  # noqa: ANN401
    """Rebuild `plain` with some fields replaced."""
    return Hyperplanes(**(vars(plain) | parts))


@given(SEEDS)
def test_distance_is_a_squared_metric(seed: int) -> None:
    a, b, c = random_codes(np.random.default_rng(seed), 3)
    assert squared_distance(a, a) == 0
    assert squared_distance(a, b) == squared_distance(b, a) > 0
    sides = np.sqrt([squared_distance(a, c), squared_distance(a, b), squared_distance(b, c)])
    assert sides[0] <= sides[1] + sides[2] + 1e-12
    np.testing.assert_allclose(squared_distance(2 * a, 2 * b), 4 * squared_distance(a, b))
    np.testing.assert_allclose(squared_distance(a, b) * a.size, np.sum((a - b) ** 2))


@given(SEEDS, st.integers(0, 6), st.integers(0, 6))
def test_matrix_holds_the_distance_of_every_pair(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_codes(rng, rows), random_codes(rng, columns)
    pairs = squared_distance(a[:, None], b[None])
    assert pairs.shape == (rows, columns)
    np.testing.assert_allclose(squared_distance_matrix(a, b), pairs, rtol=1e-10, atol=1e-12)


@given(SEEDS, st.floats(0, 12), st.integers(0, 4))
def test_far_off_codes_falsify_no_other_distance(seed: int, exponent: float, far: int) -> None:
    rng = np.random.default_rng(seed)
    codes: Any = np.asarray(random_codes(rng, 6), np.float32)
    others: Any = np.concatenate([codes, np.full((far, 3, 8), 10.0**exponent, np.float32)])
    for a, b in ((codes, others), (others, codes), (others, others)):
        found = squared_distance_matrix(a, b)
        np.testing.assert_allclose(found, squared_distance(a[:, None], b[None]), rtol=1e-10)
        assert not found.diagonal().any()


def test_matrix_in_blocks_equals_matrix_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, b = random_codes(rng, 11), random_codes(rng, 7)
    at_once = squared_distance_matrix(a, b)
    monkeypatch.setattr(geometry, "_BLOCK_BYTES", 3 * 24 * 8)
    np.testing.assert_allclose(squared_distance_matrix(a, b), at_once, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_distances_survive_a_mean_far_longer_than_the_differences(dtype: type) -> None:
    rng = np.random.default_rng(2)
    mean = rng.normal(size=(18, 512))
    mean *= 300 / np.linalg.norm(mean)
    codes: NDArray[Any] = np.asarray(mean + 0.01 * rng.normal(size=(20, 18, 512)), dtype)
    exact = np.asarray(
        [[np.mean((x.astype(float) - y.astype(float)) ** 2) for y in codes] for x in codes]
    )
    # The same stored numbers in float64: only rounding of 9216 terms may differ.
    np.testing.assert_allclose(squared_distance(codes[:, None], codes), exact, rtol=1e-12)
    found = squared_distance_matrix(codes, codes)
    np.testing.assert_allclose(found, exact, rtol=1e-11, atol=1e-14 * exact.max())
    assert (found >= 0).all()


@pytest.mark.parametrize(
    ("a", "b"), [((3, 8), (3, 7)), ((8,), (8,)), ((2, 3, 8), (5, 3, 8)), ((), (3, 8))]
)
def test_codes_that_do_not_fit_are_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput):
        squared_distance(np.zeros(a), np.zeros(b))


@pytest.mark.parametrize("shape", [(3, 8), (2, 2, 3, 8)])
def test_a_matrix_needs_lists_of_codes(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="n, 512"):
        squared_distance_matrix(np.zeros(shape), np.zeros((1, 3, 8)))


@given(SEEDS)
def test_shares_and_residual_add_up_to_the_distance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, hyperplanes = random_hyperplanes(rng)
    a, b = random_codes(rng, 5), random_codes(rng, 5)
    difference = (a - b).reshape(5, 24)
    found = explained_distance(hyperplanes, squared_distance(a, b), difference @ rows.T)
    total = squared_distance(a, b)
    np.testing.assert_allclose(found.shares.sum(-1) + found.residual, total, rtol=1e-12)
    # What attributes see is the squared length of the difference within the span of A.
    basis = np.linalg.qr(rows.T)[0]
    explained = np.sum((difference @ basis) ** 2, axis=-1) / 24
    assert_close(found.shares.sum(-1), explained)


@given(SEEDS)
def test_ignoring_never_adds_and_is_monotone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, hyperplanes = random_hyperplanes(rng)
    a, b = random_codes(rng, 2)
    total, difference = squared_distance(a, b), rows @ (a - b).ravel()
    left = [
        float(squared_distance_ignoring(hyperplanes, total, difference, hyperplanes.attributes[:i]))
        for i in range(len(rows) + 1)
    ]
    assert left[0] == total
    assert all(after <= before + 1e-9 for before, after in zip(left, left[1:], strict=False))
    everything = explained_distance(hyperplanes, total, difference)
    assert_close(left[-1], everything.residual)


@given(SEEDS)
def test_ignored_normals_may_be_walked_along_for_free(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, hyperplanes = random_hyperplanes(rng)
    a, b = random_codes(rng, 2)
    ignored = int(rng.integers(1, len(rows) + 1))
    normals = rows[:ignored] / hyperplanes.norms[:ignored, None]
    moved = b + (rng.normal(size=ignored) * 5 @ normals).reshape(b.shape)
    before, after = (
        squared_distance_ignoring(
            hyperplanes,
            squared_distance(a, code),
            rows @ (a - code).ravel(),
            hyperplanes.attributes[:ignored],
        )
        for code in (b, moved)
    )
    assert_close(before, after)


def test_difference_along_one_normal_belongs_to_its_attribute() -> None:
    gram = np.diag([4.0, 9.0])
    hyperplanes = Hyperplanes(("x", "y"), np.array([2.0, 3.0]), np.zeros(2), gram, 8)
    # Three units along n_y change ℓ_y by 3·3; the distance is 3²/8.
    found = explained_distance(hyperplanes, 9 / 8, [0.0, 9.0])
    np.testing.assert_allclose(found.shares, [0.0, 9 / 8])
    assert found.residual == 0
    assert squared_distance_ignoring(hyperplanes, 9 / 8, [0.0, 9.0], ["y"]) == 0
    assert squared_distance_ignoring(hyperplanes, 9 / 8, [0.0, 9.0], []) == 9 / 8
    # Logits of a float32 graph may claim a little more than the distance.
    assert squared_distance_ignoring(hyperplanes, 9 / 8, [0.0, 9.001], ["y"]) == 0


def test_attribute_without_a_direction_explains_nothing() -> None:
    gram = np.diag([4.0, 0.0])
    hyperplanes = Hyperplanes(("x", "flat"), np.array([2.0, 0.0]), np.zeros(2), gram, 8)
    found = explained_distance(hyperplanes, 1.0, [[2.0, 0.0]])
    np.testing.assert_allclose(found.shares, [[1 / 8, 0.0]])
    np.testing.assert_allclose(
        squared_distance_ignoring(hyperplanes, 1.0, [2.0, 0.0], ["flat"]), 1.0
    )


@given(SEEDS, st.integers(0, 2))
def test_dependent_attributes_are_refused_by_name(seed: int, others: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2 + others, 24))
    rows = np.vstack([rows, rows[0] - 2 * rows[1]])
    gram = rows @ rows.T
    names = tuple(f"a{i}" for i in range(len(rows)))
    hyperplanes = Hyperplanes(names, np.sqrt(np.diag(gram)), np.zeros(len(rows)), gram, 24)
    with pytest.raises(DependentAttributes) as refused:
        explained_distance(hyperplanes, 1.0, np.ones(len(rows)))
    assert refused.value.value == ["a0", "a1", names[-1]]


def test_steepness_of_the_calibration_is_no_dependence() -> None:
    norms = np.array([1e-6, 1.0, 1e6])
    hyperplanes = Hyperplanes(("x", "y", "z"), norms, np.zeros(3), np.diag(norms**2), 1)
    found = explained_distance(hyperplanes, 3.0, norms)
    np.testing.assert_allclose(found.shares, [1.0, 1.0, 1.0])


def test_unknown_attribute_is_refused_with_the_known_ones() -> None:
    _, hyperplanes = random_hyperplanes(np.random.default_rng(3))
    difference = np.zeros(len(hyperplanes.attributes))
    with pytest.raises(InvalidInput, match=r"ignored: found 'Smile', allowed: one of a0, a1"):
        squared_distance_ignoring(hyperplanes, 1.0, difference, ["Smile"])
    with pytest.raises(InvalidInput, match="logit_difference"):
        explained_distance(hyperplanes, 1.0, np.zeros(99))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("norms", np.array([1.0, 3.0])),
        ("norms", np.array([1.0, -2.0])),
        ("norms", np.ones(3)),
        ("biases", np.array([0.0, np.nan])),
        ("gram", np.array([[1.0, 1.0], [0.0, 4.0]])),
        ("code_size", 0),
    ],
)
def test_hyperplanes_that_contradict_themselves_are_refused(field: str, value: object) -> None:
    norms = np.array([1.0, 2.0])
    plain = Hyperplanes(("x", "y"), norms, np.zeros(2), np.diag(norms**2), 8)
    with pytest.raises(InvalidInput) as refused:
        changed(plain, **{field: value})
    assert refused.value.field == field


@given(st.floats(0.001, 0.999))
def test_logit_and_sigmoid_are_inverse(probability: float) -> None:
    np.testing.assert_allclose(sigmoid(logit(probability)), probability, rtol=1e-12)


def test_logit_is_bounded_and_sigmoid_does_not_overflow() -> None:
    assert sigmoid([-1e4, 0.0, 1e4]).tolist() == [0.0, 0.5, 1.0]
    assert logit(1.0) == logit(0.999)
    assert logit([0.0, 0.5]).tolist() == [logit(0.001), 0.0]


def test_percentile_interpolates_and_clamps() -> None:
    quantiles = np.arange(101.0) * 2 + 10
    assert percentile([0.0, 10.0, 11.0, 110.0, 210.0, 1e9], quantiles).tolist() == [
        0.0, 0.0, 0.5, 50.0, 100.0, 100.0,
    ]  # fmt: skip
    for wrong in (quantiles[:-1], quantiles[::-1], np.full(101, np.nan)):
        with pytest.raises(InvalidInput, match="quantiles"):
            percentile(1.0, wrong)
