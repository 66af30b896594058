"""Edits of codes are exact in their space, in a world whose attributes are numbers of a code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar.edits import squared_distance_moved
from wstar_training.editing.edits import (
    EditSpace,
    held,
    hyperplanes_of,
    stepped,
    targeted,
)
from wstar_training.editing.reached import WANTED, reached_figures
from wstar_training.editing.readout import editing_readout
from wstar_training.evaluation.probes import Faces
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Coupling, Flow, half_masks

K = len(ATTRIBUTES)
SMILING, MALE = ATTRIBUTES.index("Smiling"), ATTRIBUTES.index("Male")
# Codes stay within [-1, 1], which is what pictures are clamped to.
SIZE = 0.05


def readout(mixed: float = 0.0) -> Classifiers:
    """Attribute k is written in number k of a code, and a little in the others."""
    random = torch.Generator().manual_seed(0)
    weight = torch.eye(K, 1024) / SIZE
    weight[:, :K] += mixed / SIZE * torch.randn(K, K, generator=random)
    return Classifiers(weight, torch.zeros(K))


def flow(couplings: int) -> Flow:
    torch.manual_seed(0)
    layers = [Coupling(mask, 8) for mask in half_masks(K, couplings, seed=0)]
    for layer in layers:
        nn.init.normal_(layer.t[4].weight, std=0.1)  # type: ignore[arg-type]
    return Flow(layers, torch.zeros(2, 512), SIZE, torch.eye(K, 1024))


def codes(count: int) -> Tensor:
    w = torch.zeros(count, 1024)
    w[:, :K] = SIZE * torch.randn(count, K)
    return w.reshape(count, 2, 512)


@pytest.mark.parametrize("couplings", [0, 3])
@pytest.mark.parametrize("probability", [0.1, 0.9, 0.99])
def test_edited_codes_have_the_wanted_probability_in_their_space(
    couplings: int, probability: float
) -> None:
    t, w = flow(couplings), codes(5)
    space = EditSpace(t, readout())
    w_star, logits = space.codes(w)
    coefficients = targeted(space, "Smiling", logits, np.ones(5, bool), probability)
    edited = space.edited(w_star, coefficients)
    after = torch.sigmoid(readout()(t(edited)))
    # float32 codes through a flow and back.
    torch.testing.assert_close(after[:, SMILING], torch.full((5,), probability), rtol=0, atol=1e-4)
    moved = squared_distance_moved(space.planes, coefficients)
    distance = (t(edited) - t(w)).square().mean((1, 2))
    np.testing.assert_allclose(distance.detach().numpy(), moved, rtol=1e-3)


@pytest.mark.parametrize("couplings", [0, 3])
def test_steps_are_equally_long_for_all_faces_and_towards_what_is_asked(couplings: int) -> None:
    space, w = EditSpace(flow(couplings), readout(mixed=0.1)), codes(6)
    give = np.array([True, False, True, True, False, True])
    spread = space.spread(w)
    w_star, before = space.codes(w)
    coefficients = stepped(spread)(space, "Male", before, give, 2.0)
    moved = squared_distance_moved(space.planes, coefficients)
    np.testing.assert_allclose(moved, (2.0 * spread[MALE]) ** 2 / 1024)
    _, after = space.codes(space.edited(w_star, coefficients))
    assert ((after[:, MALE] > before[:, MALE]) == give).all()


@pytest.mark.parametrize("couplings", [0, 3])
def test_a_targeted_edit_goes_the_way_of_a_step_and_one_that_holds_the_rest_does_not(
    couplings: int,
) -> None:
    space, w = EditSpace(flow(couplings), readout(mixed=0.1)), codes(4)
    w_star, logits = space.codes(w)
    give = np.array([True, False, True, False])
    alone = targeted(space, "Smiling", logits, give, 0.9)
    assert np.count_nonzero(np.delete(alone, SMILING, axis=1)) == 0
    for edit in (targeted, held):
        edited = space.edited(w_star, edit(space, "Smiling", logits, give, 0.9))
        _, after = space.codes(edited)
        wanted = np.where(give, np.log(9.0), -np.log(9.0))
        # float32 codes through a flow and back, in logits of some units.
        np.testing.assert_allclose(after[:, SMILING], wanted, atol=1e-3)
        change = np.abs(np.delete(after - logits, SMILING, axis=1)).max()
        assert (change < 1e-3) == (edit is held)


def test_attributes_that_depend_on_each_other_are_named_and_not_held() -> None:
    weight = readout().weight.clone()
    weight[MALE] = 2.0 * weight[SMILING]
    weight[5] = 0.0
    space = EditSpace(flow(0), Classifiers(weight, torch.zeros(K)))
    assert set(space.dependent) == {"Smiling", "Male"}
    assert ATTRIBUTES[5] not in space.told and len(space.told) == K - 1
    assert space.condition > 1e6
    beside = space.held_beside("Bald")
    assert len(beside) == K - 4 and not {"Smiling", "Male", "Bald"} & set(beside)
    independent = EditSpace(flow(0), readout())
    assert independent.dependent == ()
    assert independent.condition == pytest.approx(1.0)


@pytest.mark.parametrize("couplings", [0, 3])
def test_wanted_probabilities_are_reached_in_the_space(couplings: int) -> None:
    space = EditSpace(flow(couplings), readout(mixed=0.1))
    figures = reached_figures(space, codes(6), ATTRIBUTES, 3, ["Smiling"], lambda w: w)
    assert set(figures["wanted"]) == {str(wanted) for wanted in WANTED}
    for each in figures["wanted"].values():
        for kind in ("targeted", "held"):
            assert each[kind]["attributes"] == each[kind]["attributes_within"] == K
            assert each[kind]["within"] == 1.0
            # float32 codes through a flow and back.
            assert each[kind]["mean"] <= each[kind]["worst"] < 1e-3
        assert each["held"]["others_worst"] < 1e-3 < each["targeted"]["others_worst"]
        assert each["encoded_again"]["attributes"] == 1
        assert each["encoded_again"]["worst"] < 1e-3


def test_what_encoding_again_loses_is_told_apart() -> None:
    space = EditSpace(flow(0), readout())
    names = ["Smiling", "Male"]
    figures = reached_figures(space, codes(6), names, 6, names, lambda w: 0.0 * w)
    each = figures["wanted"]["0.9"]
    assert each["targeted"]["within"] == 1.0
    # Codes of nothing have the probability one half.
    assert each["encoded_again"]["mean"] == pytest.approx(0.4)
    assert each["encoded_again"]["within"] == 0.0


def test_the_geometry_of_a_readout_is_its_gram_matrix() -> None:
    planes = hyperplanes_of(Classifiers(torch.randn(K, 1024), torch.randn(K)))
    np.testing.assert_allclose(planes.norms**2, planes.gram.diagonal())
    assert planes.code_size == 1024


def test_an_editing_readout_takes_the_weakest_penalty_that_is_believed_as_much() -> None:
    t, w = flow(0), codes(300)
    y = t.coordinates(w).numpy()
    faces = Faces(y, y > 0.5)
    credulous = Classifiers(torch.zeros(K, 1024), torch.ones(K))
    _, chosen = editing_readout(t, faces, w, nn.Identity(), credulous, (0.001, 10.0), 4)
    assert (chosen == 0.001).all()
    # Where the attribute goes with another one, only a strong penalty moves that one too.
    y[:, MALE] = 0.9 * y[:, SMILING] + 0.1 * y[:, MALE]
    w = t.codes(torch.from_numpy(y))
    sceptical = Classifiers(
        torch.roll(torch.eye(K, 1024), MALE - SMILING, 1) / SIZE, torch.zeros(K)
    )
    _, chosen = editing_readout(t, faces, w, nn.Identity(), sceptical, (0.001, 10.0), 8)
    assert chosen[SMILING] == 10.0
