"""What is served of a space: one calibrated matrix, with nothing where codes do not vary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from wstar.geometry import sigmoid, squared_distance
from wstar_training.models.flow import Flow, principal_axes
from wstar_training.readout.fitted import Readout, fit_readout, on_codes, on_coordinates
from wstar_training.readout.served import (
    calibrated_readout,
    distance_quantiles,
    latent_distances,
    load_readout,
    platt,
    save_readout,
)

RANK = 6
FACES = 4000


def world() -> tuple[Flow, Tensor, np.ndarray[tuple[int, int], np.dtype[np.bool_]]]:
    """Codes (FACES, 1, 512) of rank RANK in W_PLUS, and two attributes with known logits."""
    random = np.random.default_rng(0)
    factors = random.standard_normal((FACES, RANK)) * np.linspace(0.5, 2.0, RANK)
    frame = np.linalg.qr(random.standard_normal((512, RANK)))[0].T
    w = torch.from_numpy(3.0 + 4.0 * factors @ frame).float()[:, None, :]
    logits = np.stack([2.0 * factors[:, 0] - 1.0, factors[:, 2] + factors[:, 4]], 1)
    attributes = random.random((FACES, 2)) < sigmoid(logits)
    return Flow([], *principal_axes(w, RANK)), w, attributes


def test_probabilities_are_those_that_drew_the_attributes() -> None:
    flow, w, attributes = world()
    x = flow.coordinates(w).numpy()
    half = FACES // 2
    readout = calibrated_readout(x[:half], attributes[:half], 1e-3)
    probability = sigmoid(readout.logits(x[half:]))
    for k in range(2):
        for low in (0.0, 0.2, 0.4, 0.6, 0.8):
            chosen = (probability[:, k] >= low) & (probability[:, k] < low + 0.2)
            share = attributes[half:][chosen, k].mean()
            # Some 300 faces a bin: a standard error of 0.03.
            assert share == pytest.approx(probability[chosen, k].mean(), abs=0.08)


def test_calibration_undoes_what_a_strong_penalty_flattens() -> None:
    flow, w, attributes = world()
    x = flow.coordinates(w).numpy()
    flat, calibrated = fit_readout(x, attributes, 1.0), calibrated_readout(x, attributes, 1.0)
    a, b = flat.weight[1], calibrated.weight[1]
    assert np.linalg.norm(b) > 1.5 * np.linalg.norm(a)
    assert a @ b == pytest.approx(np.linalg.norm(a) * np.linalg.norm(b))
    found = sigmoid(calibrated.logits(x))[:, 1].mean()
    assert found == pytest.approx(attributes[:, 1].mean(), abs=0.01)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_platt_finds_the_scale_and_offset_that_were_taken_away(scale: float) -> None:
    random = np.random.default_rng(1)
    true = 2.0 * random.standard_normal(20000)
    wanted = random.random(20000) < sigmoid(true)
    found_scale, found_offset = platt(true / scale - 0.5, wanted)
    assert found_scale == pytest.approx(scale, rel=0.1)
    assert found_offset == pytest.approx(0.5 * scale, abs=0.1)


@pytest.mark.parametrize("wanted", [np.zeros(50, bool), np.ones(50, bool)])
def test_an_attribute_nobody_or_everybody_has_gets_no_direction(
    wanted: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> None:
    y = np.random.default_rng(2).standard_normal((50, RANK))
    readout = calibrated_readout(y, wanted[:, None], 1e-3)
    assert not readout.weight.any()
    assert (readout.bias[0] > 0) == wanted.all()
    assert np.isfinite(readout.bias).all()


def test_logits_that_point_the_wrong_way_are_not_trusted() -> None:
    wanted = np.arange(100) % 4 == 0
    scale, offset = platt(np.where(wanted, -1.0, 1.0), wanted)
    assert scale == 0.0
    assert sigmoid(offset) == pytest.approx(0.25, abs=0.01)


def test_a_readout_on_codes_is_the_same_and_zero_outside_the_basis() -> None:
    flow, w, attributes = world()
    x = flow.coordinates(w)
    readout = fit_readout(x.numpy(), attributes, 1e-3)
    classifiers = on_codes(readout, flow)
    assert flow.basis is not None
    # float32 sums over 512 numbers.
    np.testing.assert_allclose(classifiers(w).numpy(), readout.logits(x.numpy()), atol=1e-4)
    weight = classifiers.weight
    outside = weight - weight @ flow.basis.T @ flow.basis
    assert outside.abs().max() < 1e-6 * weight.abs().max()
    back = on_coordinates(classifiers, flow)
    np.testing.assert_allclose(back.weight, readout.weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(back.bias, readout.bias, atol=1e-4)


def test_latent_distances_are_those_of_the_contract() -> None:
    flow, w, _ = world()
    pairs = np.array([[0, 1], [5, 9], [3, 3]])
    found = latent_distances(flow, flow.coordinates(w).numpy(), pairs)
    wanted = squared_distance(w.numpy()[pairs[:, 0]], w.numpy()[pairs[:, 1]])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-9)


def test_the_served_file_keeps_what_was_put_in(tmp_path: Path) -> None:
    flow, w, attributes = world()
    y = flow.coordinates(w).numpy()
    quantiles = distance_quantiles(flow, y)
    assert quantiles.shape == (101,)
    assert quantiles[0] >= 0 and (np.diff(quantiles) >= 0).all()
    classifiers = on_codes(Readout(np.eye(2, RANK), np.zeros(2)), flow)
    path = tmp_path / "space_W_PLUS.pt"
    save_readout(path, classifiers, quantiles, 2.5, {"world": "test"}, {"svm": 0.9})
    loaded = load_readout(path)
    assert torch.equal(loaded.weight, classifiers.weight)
    assert torch.equal(loaded.bias, classifiers.bias)
