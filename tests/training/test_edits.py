"""Edits judged on pictures, in a world whose pictures are codes and whose referee is linear."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wstar.attributes import ATTRIBUTES
from wstar_training.edit_evaluation import (
    Studio,
    edit_figures,
    edited_codes,
    faces_to_edit,
    hyperplanes_of,
)
from wstar_training.edit_readout import editing_readout
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Coupling, Flow, half_masks
from wstar_training.probes import Faces

K = len(ATTRIBUTES)
SMILING, MALE = ATTRIBUTES.index("Smiling"), ATTRIBUTES.index("Male")
# Codes stay within [-1, 1], which is what pictures are clamped to.
SIZE = 0.05


def readout() -> Classifiers:
    """Attribute k is written in number k of a code."""
    return Classifiers(torch.eye(K, 1024) / SIZE, torch.zeros(K))


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


def studio(referee: nn.Module) -> Studio:
    return Studio(nn.Identity(), referee, nn.Flatten())


@pytest.mark.parametrize("couplings", [0, 3])
@pytest.mark.parametrize("probability", [0.1, 0.9, 0.99])
def test_edited_codes_have_the_wanted_probability_in_their_space(
    couplings: int, probability: float
) -> None:
    t, w = flow(couplings), codes(5)
    edited, moved = edited_codes(t, readout(), w, "Smiling", np.full(5, probability))
    after = torch.sigmoid(readout()(t(edited)))
    # float32 codes through a flow and back.
    torch.testing.assert_close(after[:, SMILING], torch.full((5,), probability), rtol=0, atol=1e-4)
    distance = (t(edited) - t(w)).square().mean((1, 2))
    np.testing.assert_allclose(distance.detach().numpy(), moved, rtol=1e-3)


def test_orthogonal_attributes_do_not_leak() -> None:
    w = codes(20)
    truth = readout()(w).numpy() > 0
    figures = edit_figures(studio(readout()), flow(0), readout(), w, truth, "Male", 0.9)
    assert figures.agreement == 1.0
    assert figures.before == 0.0
    assert figures.leakage < 1e-6
    assert figures.flipped == 0.0
    assert figures.faces == 20


def test_what_the_referee_reads_elsewhere_is_leakage() -> None:
    weight = torch.eye(K, 1024) / SIZE
    weight[0, SMILING] = 1.0 / SIZE
    referee = Classifiers(weight, torch.zeros(K))
    w = codes(20)
    w[:, 0, SMILING] = -SIZE
    truth = readout()(w).numpy() > 0
    figures = edit_figures(studio(referee), flow(0), readout(), w, truth, "Smiling", 0.9)
    before, after = torch.sigmoid(referee(w)), torch.sigmoid(referee(w) + 1.0 + np.log(9.0))
    wanted = (after - before)[:, 0].abs().mean().item() / (K - 1)
    assert figures.leakage == pytest.approx(wanted, rel=1e-3)


def test_faces_to_edit_lack_what_they_are_given_unless_it_is_flipped() -> None:
    truth = np.zeros((6, K), bool)
    truth[[0, 2], SMILING] = True
    truth[[1, 2], MALE] = True
    assert faces_to_edit(truth, "Smiling", 3).tolist() == [1, 3, 4]
    assert faces_to_edit(truth, "Male", 3).tolist() == [0, 1, 2]


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
