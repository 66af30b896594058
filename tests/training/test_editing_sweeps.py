"""What edits do to pictures, where pictures are codes and all that looks at them is linear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from wstar.attributes import ATTRIBUTES
from wstar.geometry import sigmoid
from wstar_training.editing.comparison import Edits, compared, joined
from wstar_training.editing.edits import EditSpace, Float64, stepped, targeted
from wstar_training.editing.equal_change import at_change
from wstar_training.editing.studio import Studio
from wstar_training.editing.sweep import Effects, Pool, effects, faces_to_edit, sit, sweep
from wstar_training.editing.ways import tried
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow

K = len(ATTRIBUTES)
SMILING, MALE = ATTRIBUTES.index("Smiling"), ATTRIBUTES.index("Male")
# Codes stay within [-1, 1], which is what pictures are clamped to.
SIZE = 0.02


class Embedding(nn.Module):
    """Unit vectors of pictures, none of them of nothing."""

    def forward(self, picture: Tensor) -> Tensor:
        """Embed."""
        return functional.normalize(picture.flatten(1) + 0.1, dim=1)


def space() -> EditSpace:
    """W+ itself; attribute k is written in number k of a code."""
    plus = Flow([], torch.zeros(2, 512), SIZE, torch.eye(K, 1024))
    return EditSpace(plus, Classifiers(torch.eye(K, 1024) / SIZE, torch.zeros(K)))


def mixed() -> Classifiers:
    """A referee that reads Male partly where Smiling is written, and is a little biased."""
    weight = torch.eye(K, 1024) / SIZE
    weight[MALE, SMILING] = -0.5 / SIZE
    return Classifiers(weight, torch.linspace(-0.2, 0.2, K))


def studio(referee: nn.Module, identity: nn.Module | None = None) -> Studio:
    return Studio(nn.Identity(), referee, identity, lambda pictures: [pictures.flatten(1)])


def pool(count: int, referee: nn.Module, identity: nn.Module | None = None) -> Pool:
    w = torch.zeros(count, 1024)
    w[:, :K] = SIZE * torch.randn(count, K)
    w = w.reshape(count, 2, 512)
    logits = referee(w).double().numpy()
    # Given pictures are not what G makes of their codes.
    given = None if identity is None else identity(w.flip(2))
    return Pool(w, logits > 0, logits, given)


def close(found: Float64, wanted: Tensor | float, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    """Equal but for float32 logits and pictures beside those of float64."""
    np.testing.assert_allclose(found, np.asarray(wanted), rtol=rtol, atol=atol)


def test_faces_to_edit_lack_what_they_are_given_unless_it_is_flipped() -> None:
    truth = np.zeros((6, K), bool)
    truth[[0, 2], SMILING] = True
    truth[[1, 2], MALE] = True
    seen = np.where(truth, 1.0, -1.0)
    # The referee sees a smile that is not there, and overlooks a man.
    seen[3, SMILING], seen[1, MALE] = 1.0, -1.0
    faces = Pool(torch.zeros(6, 2, 512), truth, seen, None)
    assert faces_to_edit(faces, "Smiling", 9).tolist() == [1, 4, 5]
    assert faces_to_edit(faces, "Male", 3).tolist() == [0, 2, 3]


def test_effects_are_those_that_can_be_computed_by_hand() -> None:
    eye, referee = Embedding(), mixed()
    faces = pool(30, referee, eye)
    rows = faces_to_edit(faces, "Smiling", 8)
    sitting = sit(studio(referee, eye), faces, "Smiling", rows)
    seen = sweep(studio(referee, eye), sitting, space(), targeted, (0.5, 0.9))
    found = effects(sitting, seen)
    assert found.identity_reconstruction is not None and found.identity_input is not None
    before = faces.w[torch.from_numpy(rows)]
    for row, probability in ((1, 0.5), (2, 0.9)):
        after = before.clone()
        after[:, 0, SMILING] = SIZE * np.log(probability / (1 - probability))
        p, q = torch.sigmoid(referee(before)), torch.sigmoid(referee(after))
        close(found.change[row], (q - p)[:, SMILING])
        close(found.leakage[row], (q - p)[:, MALE].abs() / (K - 1))
        moved = (after - before).square().flatten(1)
        close(found.perceptual[row], moved.sum(1))
        close(found.squared_distance[row], moved.mean(1))
        same = (eye(after) * eye(before)).sum(1)
        close(found.identity_reconstruction[row], same)
        given = eye(before.flip(2))
        close(found.identity_input[row], (eye(after) * given).sum(1))
    close(found.change[0], 0.0)
    close(found.identity_reconstruction[0], 1.0)
    close(found.identity_input[0], (eye(before) * given).sum(1))


def test_without_an_identity_network_there_are_no_figures_of_it() -> None:
    faces = pool(20, mixed())
    sitting = sit(studio(mixed()), faces, "Male", np.arange(4))
    seen = sweep(studio(mixed()), sitting, space(), targeted, (0.9,))
    assert effects(sitting, seen).identity_input is None
    assert at_change(sitting, seen, 0.1).effects.identity_reconstruction is None


@pytest.mark.parametrize("name", ["Smiling", "Male"])
def test_faces_at_equal_change_are_those_of_the_edit_that_brings_it_about(name: str) -> None:
    """In a straight world interpolation loses nothing, however far apart the strengths are."""
    referee, k = mixed(), ATTRIBUTES.index(name)
    faces = pool(40, referee)
    sitting = sit(studio(referee), faces, name, faces_to_edit(faces, name, 12))
    seen = sweep(studio(referee), sitting, space(), stepped(np.ones(K)), (SIZE * 2, SIZE * 30))
    found = at_change(sitting, seen, 0.4)
    possible = sigmoid(sitting.logits[:, k] * sitting.sign) < 0.6
    assert (found.reached == possible).all() and possible.any()
    before = faces.w[torch.from_numpy(sitting.faces)][torch.from_numpy(possible)]
    p = torch.sigmoid(referee(before)).double()
    sign = torch.from_numpy(sitting.sign[possible])
    step = torch.logit(p[:, k] + 0.4 * sign) - torch.logit(p[:, k])
    after = before.clone()
    after[:, 0, k] += SIZE * step.float()
    q = torch.sigmoid(referee(after)).double()
    some = Effects(
        **{  # type: ignore[arg-type]
            key: None if value is None else value[possible]
            for key, value in vars(found.effects).items()
        }
    )
    close(some.change, 0.4, rtol=1e-3, atol=1e-5)
    leaked = (q - p).abs().sum(1) - (q - p)[:, k].abs()
    close(some.leakage, leaked / (K - 1), rtol=1e-3, atol=1e-5)
    close(some.perceptual, (SIZE * step) ** 2, rtol=1e-3, atol=1e-5)
    close(some.squared_distance, (SIZE * step) ** 2 / 1024, rtol=1e-3, atol=1e-5)


def test_what_is_never_reached_is_counted_as_such() -> None:
    blind = Classifiers(torch.zeros(K, 1024), torch.full((K,), -1.0))
    faces = pool(20, blind)
    sitting = sit(studio(blind), faces, "Smiling", np.arange(6))
    seen = sweep(studio(blind), sitting, space(), targeted, (0.5, 0.9))
    assert not at_change(sitting, seen, 0.1).reached.any()
    # Nor is a change that would need a probability above 1.
    sure = Classifiers(torch.eye(K, 1024) / SIZE, torch.full((K,), 3.0))
    sitting = sit(studio(sure), replace(faces, logits=sure(faces.w).double().numpy()), "Smiling",
                  np.arange(6))  # fmt: skip
    seen = sweep(studio(sure), sitting, space(), targeted, (0.5, 0.99))
    assert not at_change(sitting, seen, 0.9).reached.any()


def edits_of(reached: list[bool], leakage: list[float]) -> Edits:
    values = np.array(leakage)
    effect = Effects(values, values, values, values, None, None, values, values)
    return Edits(np.array(reached), effect)


def test_ways_are_compared_over_edits_that_all_of_them_bring_about() -> None:
    ways = {
        "a": edits_of([True, True, True, False], [1.0, 2.0, 3.0, 9.0]),
        "b": edits_of([True, True, False, True], [2.0, 2.0, 9.0, 9.0]),
        "c": edits_of([False, True, False, False], [9.0, 5.0, 9.0, 9.0]),
    }
    found = compared(ways, ["a", "b"], np.array([0, 1, 2, 3]), 4)
    assert (found["edits"], found["common"]) == (4, 2)
    assert found["ways"]["a"]["leakage"]["value"] == 1.5
    assert found["ways"]["b"]["leakage"]["value"] == 2.0
    assert "leakage" not in found["ways"]["c"]
    shares = {way: figures["reached"]["value"] for way, figures in found["ways"].items()}
    assert shares == {"a": 0.75, "b": 0.75, "c": 0.25}
    assert set(found["differences"]) == {"b", "c"}
    assert found["differences"]["b"]["leakage"]["value"] == 0.5
    assert found["differences"]["c"]["edits"] == 1
    assert found["differences"]["c"]["leakage"]["value"] == 3.0
    assert found["ways"]["a"]["identity_input"] is None
    low, high = (found["ways"]["a"]["leakage"][key] for key in ("low", "high"))
    assert (low, high) == (1.0, 2.0)


def test_ways_without_a_common_edit_have_no_figures() -> None:
    ways = {"a": edits_of([True, False], [1.0, 2.0]), "b": edits_of([False, True], [1.0, 2.0])}
    found = compared(ways, ["a", "b"], np.array([0, 1]), 2)
    assert found["common"] == 0 and found["ways"]["a"]["leakage"] is None
    assert joined([ways["a"], ways["b"]]).reached.tolist() == [True, False, False, True]


def test_the_leakage_matrix_is_that_of_the_referee() -> None:
    referee = mixed()
    faces = pool(60, referee)
    names = ["Smiling", "Male", "Bangs"]
    spaces = {"W_PLUS": space(), "W_STAR_ID": space()}
    found = tried(studio(referee), spaces, faces, 5, names, ["Smiling"])
    for kind in ("step", "targeted"):
        matrices = found["leakage"][kind]["W_PLUS"]
        edited = np.isfinite(matrices["absolute"]).all(1)
        assert [name for name, row in zip(ATTRIBUTES, edited, strict=True) if row] == sorted(
            names, key=ATTRIBUTES.index
        )
        leaks = np.argwhere(matrices["absolute"] > 0).tolist()
        bangs = ATTRIBUTES.index("Bangs")
        assert leaks == sorted([[SMILING, SMILING], [SMILING, MALE], [MALE, MALE], [bangs, bangs]])
        # A smile takes from what the referee sees of a man.
        assert matrices["signed"][SMILING, MALE] < 0 < matrices["signed"][MALE, MALE]
    rows = faces_to_edit(faces, "Smiling", 5)
    w = faces.w[torch.from_numpy(rows)]
    after = w.clone()
    after[:, 0, SMILING] = SIZE * np.log(99.0)
    change = (torch.sigmoid(referee(after)) - torch.sigmoid(referee(w))).mean(0)
    np.testing.assert_allclose(
        found["leakage"]["targeted"]["W_PLUS"]["signed"][SMILING], change, atol=1e-4
    )
    assert found["targeted"]["W_PLUS"]["0.99"]["mean"]["agreed"] == 1.0
    # Equal spaces differ in nothing, and only swept attributes are compared.
    table = found["equal_change"]["0.5"]
    assert set(table["by_attribute"]) == {"Smiling"}
    difference = table["differences"]["W_STAR_ID step"]["leakage"]
    assert (difference["value"], difference["low"], difference["high"]) == (0.0, 0.0, 0.0)


def test_a_space_that_cannot_tell_an_attribute_never_reaches_it() -> None:
    weight = torch.eye(K, 1024) / SIZE
    weight[SMILING] = 0.0
    poor = EditSpace(space().flow, Classifiers(weight, torch.zeros(K)))
    referee = mixed()
    faces = pool(40, referee)
    spaces = {"W_PLUS": space(), "W_STAR": poor}
    found = tried(studio(referee), spaces, faces, 4, ["Smiling"], ["Smiling"])
    reached = found["equal_change"]["0.3"]["ways"]
    assert reached["W_PLUS step"]["reached"]["value"] > 0
    assert reached["W_STAR step"]["reached"]["value"] == 0
    assert "W_STAR" not in found["targeted"]
    assert found["equal_change"]["0.3"]["common"] == 0
    assert found["curves"]["edits"] == 0
