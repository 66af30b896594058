"""The report of edits: of a study of closed-form networks, and of the demo world's quick size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from wstar.attributes import ATTRIBUTES
from wstar_training.editing import edit_agreement, editing_report, editing_tables
from wstar_training.editing.referee import (
    RefereeOptions,
    UnitVectors,
    load_referee,
    train_referee,
)
from wstar_training.models.classifiers import Classifiers
from wstar_training.models.flow import Flow
from wstar_training.readout.fitted import Readout
from wstar_training.study.stages import Study

K = len(ATTRIBUTES)
SIZE = 0.02


class Encoder(nn.Module):
    """Codes of pictures that are codes."""

    side = 1

    def forward(self, picture: Tensor) -> Tensor:
        """Encode."""
        w: Tensor = picture.flatten(1).unflatten(1, (2, 512))
        return w


class Pictures(nn.Module):
    """Codes (N, 2, 512) as pictures (N, 1024, 1, 1)."""

    def forward(self, w: Tensor) -> Tensor:
        """Draw."""
        return w.flatten(1)[..., None, None]


class Judge:
    """Squared distance of pictures, at a scale."""

    scale = 10.0

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Look."""
        return [pictures.flatten(1) * self.scale**0.5]


def study(identity: bool = True, made_for_edits: bool = True) -> Study:
    torch.manual_seed(0)
    w = torch.zeros(80, 1024)
    w[:, :K] = SIZE * torch.randn(80, K)
    truth = w[:, :K].numpy() > 0
    eye = Classifiers(torch.eye(K, 1024) / SIZE, torch.zeros(K))

    def faces(split: str) -> Callable[[NDArray[np.int64]], Tensor]:
        return lambda rows: w[torch.from_numpy(rows)][..., None, None]

    return cast(
        Study,
        SimpleNamespace(
            codes=SimpleNamespace(w={"test": w.unflatten(1, (2, 512))}),
            attributes=lambda split: truth,
            faces=faces,
            judge=Judge(),
            perceptual_scale=20.0,
            identity_path=SimpleNamespace(generator=Pictures()),
            encoder=Encoder(),
            referee=eye,
            identity_referee=UnitVectors(nn.Flatten()) if identity else None,
            edited=("Smiling", "Male", "Bangs"),
            made_for_edits=made_for_edits,
            editing_readout=lambda flow: Readout(np.eye(K), np.zeros(K)),
        ),
    )


def spaces() -> tuple[dict[str, Flow], dict[str, Classifiers]]:
    plus = Flow([], torch.zeros(2, 512), SIZE, torch.eye(K, 1024))
    eye = Classifiers(torch.eye(K, 1024) / SIZE, torch.zeros(K))
    names = ("W_STAR", "W_STAR_ID", "W_PLUS")
    return dict.fromkeys(names, plus), dict.fromkeys(names, eye)


def report(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return editing_report(
        study(**changes), *spaces(), faces=3, swept=("Smiling", "Male")
    )  # fmt: skip


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return report()


def test_a_report_is_plain_data_and_whole(made: dict[str, Any]) -> None:
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["pool"] == 60 and made["identity"] is True
    assert made["referee"]["reconstructions"] == {"accuracy": 1.0, "balanced": 1.0, "blind": []}
    names = ["W_PLUS", "W_PLUS_FOR_EDITS", "W_STAR", "W_STAR_ID"]
    assert list(made["reached"]) == list(made["targeted"]) == names
    assert made["main"] == [
        "W_PLUS step", "W_PLUS_FOR_EDITS step", "W_STAR step", "W_STAR_ID step",
        "W_STAR_ID targeted",
    ]  # fmt: skip
    assert len(made["sweeps"]["W_STAR held"]) == 2 and len(made["sweeps"]["W_STAR step"]) == 3
    curve = made["curves"]["ways"]["W_STAR step"]
    assert made["curves"]["change"] == [0.1, 0.3, 0.5, 0.7]
    assert curve["leakage"] == pytest.approx([0.0] * 4, abs=1e-6)
    assert curve["perceptual"] == sorted(curve["perceptual"])


def test_orthogonal_attributes_do_not_leak_and_are_reached(made: dict[str, Any]) -> None:
    for space in made["reached"]:
        assert edit_agreement(made, space) == 1.0
        for each in made["reached"][space]["wanted"].values():
            assert all(found["within"] == 1.0 for found in each.values())
    for figures in made["equal_change"]["0.5"]["ways"].values():
        assert figures["reached"]["value"] == 1.0
    assert edit_agreement({"targeted": {}}, "W_STAR") is None


def test_distances_are_those_of_the_judge_at_the_scale_that_is_served(
    made: dict[str, Any],
) -> None:
    sweep = made["sweeps"]["W_PLUS step"]["Bangs"]
    # D* is a mean over 1024 numbers, the judge's distance 20 times their sum; four digits are kept.
    assert sweep["perceptual"][0] == pytest.approx(20 * 1024 * sweep["squared_distance"][0], 1e-3)
    units = made["units"]
    assert units["perceptual"] == pytest.approx(
        20 * 1024 * units["squared_distance"]["W_PLUS"], 1e-3
    )


def test_tables_say_what_was_left_out(made: dict[str, Any]) -> None:
    tables = "\n\n".join(editing_tables(made))
    assert "identity to input" in tables and "W\\*_ID, targeted" in tables
    assert "W+, hyperplanes made for edits" in tables
    without = report(identity=False, made_for_edits=False)
    assert without["identity"] is False and "W_PLUS_FOR_EDITS" not in without["reached"]
    tables = "\n\n".join(editing_tables(without))
    assert "identity is left out" in tables
    nothing = editing_report(study(), *spaces(), faces=3, attributes=(), encoded=False)
    assert "encoded_again" not in nothing["reached"]["W_STAR"]["wanted"]["0.5"]
    assert editing_tables(nothing)
    for table in [*editing_tables(made), *editing_tables(without)]:
        lines = [line for line in table.split("\n") if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1


def test_a_referee_learns_to_read_attributes_off_pictures_of_any_side(tmp_path: Path) -> None:
    bright = np.random.default_rng(0).random((64, 1)) < 0.5
    attributes = np.concatenate([bright, ~bright], 1)
    pictures = torch.where(torch.from_numpy(bright), 0.5, -0.5)[..., None, None]
    pictures = pictures.expand(64, 3, 24, 24) + 0.1 * torch.randn(64, 3, 24, 24)
    options = RefereeOptions(width=4, side=32, epochs=15, batch=16)
    made = train_referee(
        tmp_path / "referee.pt", options, lambda rows: pictures[torch.from_numpy(rows)], attributes
    )
    again = load_referee(tmp_path / "referee.pt")
    for side in (24, 32, 80):
        shown = functional.interpolate(pictures, side)
        read = again(shown)
        torch.testing.assert_close(read, made(shown))
        assert ((read > 0).numpy() == attributes).mean() > 0.95
