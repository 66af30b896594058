"""Edits: coefficients from the Gram matrix do what the same edit does with the normals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wstar.edits import (
    squared_distance_moved,
    step_coefficients,
    targeted_coefficients,
)
from wstar.errors import DependentAttributes, InvalidInput
from wstar.geometry import logit
from wstar.hyperplanes import Hyperplanes

Float64 = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def assert_close(found: Any, expected: Any) -> None:  # noqa: ANN401
    """Equal up to rounding: random problems here have condition numbers below 1e4."""
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


class World:
    """An explicit A (K, 24) with correlated rows, and the hyperplanes a service sees of it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        k = int(self.rng.integers(3, 10))
        self.rows = self.rng.normal(size=(k, 24)) + 0.5 * self.rng.normal(size=24)
        self.rows *= 10.0 ** self.rng.uniform(-2, 2, size=(k, 1))
        gram = self.rows @ self.rows.T
        self.names = tuple(f"a{i}" for i in range(k))
        self.norms = np.sqrt(np.diag(gram))
        self.hyperplanes = Hyperplanes(self.names, self.norms, np.zeros(k), gram, 24)
        self.targets = int(self.rng.integers(1, k))
        self.preserved = int(self.rng.integers(0, k - self.targets + 1))

    def move(self, coefficients: Float64) -> Float64:
        """What `flow_inverse` adds to the code."""
        return coefficients @ (self.rows / self.norms[:, None])

    def kept(self) -> tuple[str, ...]:
        """Names of the preserved attributes."""
        return self.names[self.targets : self.targets + self.preserved]


@given(SEEDS)
def test_targeted_edit_reaches_its_logits_and_preserves(seed: int) -> None:
    world = World(seed)
    logits = world.rng.normal(size=len(world.names)) * 4
    wanted = dict(
        zip(world.names, world.rng.uniform(0.01, 0.99, size=world.targets).tolist(), strict=False)
    )
    coefficients, moved = targeted_coefficients(world.hyperplanes, logits, wanted, world.kept())
    delta = world.move(coefficients)
    after = logits + world.rows @ delta
    involved = world.targets + world.preserved
    assert_close(after[: world.targets], logit(list(wanted.values())))
    assert_close(after[world.targets : involved], logits[world.targets : involved])
    assert not coefficients[involved:].any()
    assert_close(moved, delta @ delta / 24)


@given(SEEDS)
def test_targeted_edit_is_the_least_norm_solution(seed: int) -> None:
    world = World(seed)
    logits = world.rng.normal(size=len(world.names)) * 4
    wanted = dict.fromkeys(world.names[: world.targets], 0.9)
    coefficients, _ = targeted_coefficients(world.hyperplanes, logits, wanted, world.kept())
    involved = world.targets + world.preserved
    change = np.zeros(involved)
    change[: world.targets] = logit(0.9) - logits[: world.targets]
    norms = world.norms[:involved]
    # Rows scaled to unit length: the same solutions, and lstsq's own cut-off stays out of it.
    least = np.linalg.lstsq(world.rows[:involved] / norms[:, None], change / norms, rcond=None)[0]
    delta = world.move(coefficients)
    assert_close(delta / np.linalg.norm(least), least / np.linalg.norm(least))


@given(SEEDS)
def test_distance_moved_is_that_of_the_explicit_move(seed: int) -> None:
    world = World(seed)
    coefficients = world.rng.normal(size=(4, len(world.names)))
    delta = world.move(coefficients)
    assert_close(squared_distance_moved(world.hyperplanes, coefficients), np.sum(delta**2, -1) / 24)


@given(SEEDS, st.floats(-50, 50))
def test_single_step_moves_by_its_length_and_preserves(seed: int, step: float) -> None:
    world = World(seed)
    kept = world.kept()
    delta = world.move(step_coefficients(world.hyperplanes, {world.names[0]: step}, kept))
    assert_close(np.linalg.norm(delta), abs(step))
    preserved = world.rows[[world.names.index(name) for name in kept]]
    np.testing.assert_allclose(
        preserved @ delta / np.linalg.norm(preserved, axis=1), 0, atol=1e-9 * (1 + abs(step))
    )
    # The direction is n_0 minus its projection on the preserved normals.
    projection = preserved.T @ np.linalg.pinv(preserved.T) @ world.rows[0]
    free = world.rows[0] - projection
    np.testing.assert_allclose(delta, step * free / np.linalg.norm(free), rtol=1e-6, atol=1e-6)


@given(SEEDS)
def test_several_steps_are_summed(seed: int) -> None:
    world = World(seed)
    steps = dict(zip(world.names[: world.targets], world.rng.normal(size=9).tolist(), strict=False))
    together = step_coefficients(world.hyperplanes, steps, world.kept())
    alone = [
        step_coefficients(world.hyperplanes, {name: step}, world.kept())
        for name, step in steps.items()
    ]
    assert_close(together, np.sum(alone, axis=0))


def test_step_without_preserve_is_the_unit_normal_itself() -> None:
    world = World(0)
    found = step_coefficients(world.hyperplanes, {"a1": -2.5, "a0": 1.0})
    assert_close(found, [1.0, -2.5, *[0.0] * (len(world.names) - 2)])


def test_empty_edits_move_nothing() -> None:
    world = World(1)
    logits = np.zeros(len(world.names))
    assert not step_coefficients(world.hyperplanes, {}).any()
    for preserve in ((), ("a0",)):
        coefficients, moved = targeted_coefficients(world.hyperplanes, logits, {}, preserve)
        assert not coefficients.any()
        assert moved == 0


def test_probabilities_are_bounded() -> None:
    world = World(2)
    logits = np.zeros(len(world.names))
    sure, _ = targeted_coefficients(world.hyperplanes, logits, {"a0": 1.0})
    bound, _ = targeted_coefficients(world.hyperplanes, logits, {"a0": 0.999})
    np.testing.assert_array_equal(sure, bound)


@given(SEEDS)
def test_dependent_attributes_are_refused_by_name(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4, 24))
    rows[2] = rows[0] + 1e-5 * rng.normal(size=24)
    gram = rows @ rows.T
    names = ("Bald", "Young", "Hairless", "Male")
    hyperplanes = Hyperplanes(names, np.sqrt(np.diag(gram)), np.zeros(4), gram, 24)
    with pytest.raises(DependentAttributes) as refused:
        targeted_coefficients(
            hyperplanes, np.zeros(4), {"Young": 0.9, "Bald": 0.9}, ["Hairless", "Male"]
        )
    assert sorted(refused.value.value) == ["Bald", "Hairless"]  # type: ignore[call-overload]
    with pytest.raises(DependentAttributes, match=r"Bald.*Hairless"):
        step_coefficients(hyperplanes, {"Bald": 1.0}, ["Young", "Hairless"])
    # Two steps along nearly the same normal only add up: nothing is divided.
    assert_close(step_coefficients(hyperplanes, {"Bald": 1.0, "Hairless": 1.0}), [1, 0, 1, 0])


@pytest.mark.parametrize("step", [np.nan, np.inf])
def test_steps_must_be_finite(step: float) -> None:
    with pytest.raises(InvalidInput, match=r"steps\[a0\]"):
        step_coefficients(World(3).hyperplanes, {"a0": step})


@pytest.mark.parametrize("probability", [-0.1, 1.1, np.nan])
def test_probabilities_must_be_probabilities(probability: float) -> None:
    world = World(3)
    with pytest.raises(InvalidInput, match=r"probabilities\[a0\]"):
        targeted_coefficients(world.hyperplanes, np.zeros(len(world.names)), {"a0": probability})


def test_logits_must_be_those_of_one_code() -> None:
    world = World(3)
    k = len(world.names)
    for logits in (np.zeros(k + 1), np.zeros((2, k)), np.full(k, np.nan)):
        with pytest.raises(InvalidInput, match="logits"):
            targeted_coefficients(world.hyperplanes, logits, {"a0": 0.9})


def test_an_attribute_cannot_be_moved_and_preserved() -> None:
    world = World(4)
    with pytest.raises(InvalidInput, match="preserve: found 'a1'"):
        step_coefficients(world.hyperplanes, {"a0": 1.0, "a1": 1.0}, ["a2", "a1"])
    with pytest.raises(InvalidInput, match="preserve: found 'a1'"):
        targeted_coefficients(world.hyperplanes, np.zeros(len(world.names)), {"a1": 0.9}, ["a1"])


def test_unknown_names_are_refused() -> None:
    world = World(4)
    with pytest.raises(InvalidInput, match="steps: found 'Smile'"):
        step_coefficients(world.hyperplanes, {"Smile": 1.0})
    with pytest.raises(InvalidInput, match="preserve: found 'Smile'"):
        step_coefficients(world.hyperplanes, {"a0": 1.0}, ["Smile"])


def test_attribute_without_a_direction_cannot_be_moved_but_preserved() -> None:
    hyperplanes = Hyperplanes(
        ("x", "flat"), np.array([2.0, 0.0]), np.zeros(2), np.diag([4.0, 0.0]), 8
    )
    with pytest.raises(InvalidInput, match="flat"):
        step_coefficients(hyperplanes, {"flat": 1.0})
    assert step_coefficients(hyperplanes, {"x": 1.0}, ["flat"]).tolist() == [1.0, 0.0]


def test_preserving_twice_is_preserving_once() -> None:
    world = World(5)
    np.testing.assert_array_equal(
        step_coefficients(world.hyperplanes, {"a0": 1.0}, ["a1", "a1"]),
        step_coefficients(world.hyperplanes, {"a0": 1.0}, ["a1"]),
    )
