"""The variants of the paper: each is the study but for what its name says, and each trains."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wstar.errors import InvalidInput
from wstar.graphs import Space
from wstar_training import checkpoint
from wstar_training.ablation.variants import (
    VARIANTS,
    VARIANTS_NEED,
    Variant,
    random_classifiers,
    train_variant,
    variant,
)
from wstar_training.learning.codes import Batch, Codes, load_codes, save_codes
from wstar_training.learning.config import FlowOptions, Layout
from wstar_training.learning.loop import load_flow
from wstar_training.learning.objective import IdentityPath
from wstar_training.learning.record import FILE
from wstar_training.models.flow import Flow
from wstar_training.models.perceptual import PerceptualDistance
from wstar_training.models.vgg import VGG16
from wstar_training.readout.fitted import Bools
from wstar_training.study.stages import CodeSplit, Study, flow_stages, make

COUNT, ROWS, SIDE, ATTRIBUTES = 40, 6, 16, 5


class Painter(nn.Module):
    """G: pictures whose colours are numbers of the code."""

    def forward(self, w: Tensor) -> Tensor:
        """Map (N, 6, 512) to (N, 3, 16, 16)."""
        colours = w[:, :3, :4].unflatten(2, (2, 2))
        out: Tensor = nn.functional.interpolate(colours, SIDE, mode="bilinear").tanh()
        return out


class Face(nn.Module):
    """F: the mean colours of quarters of a picture."""

    def forward(self, picture: Tensor) -> Tensor:
        """Map (N, 3, 16, 16) to (N, 12)."""
        return nn.functional.adaptive_avg_pool2d(picture, 2).flatten(1)


@dataclass(frozen=True)
class Small(Study):
    """A study of drawn codes."""

    run: Path
    layout: Layout = 6

    labels = {"world": "small"}
    sketch, held_out, penalty = 32, 10, 0.1
    chosen_scale = None
    encoder = referee = nn.Identity()
    identity_referee = None
    identity_path = IdentityPath(Painter(), Face())

    @cached_property
    def codes(self) -> Codes:
        """The same draw every time."""
        if not self.path("codes.pt").exists():
            random = torch.Generator().manual_seed(0)
            axes = torch.randn(10, ROWS * 512, generator=random)
            w = (torch.randn(COUNT, 10, generator=random) @ axes).unflatten(1, (ROWS, 512))
            save_codes(self.path("codes.pt"), {"flow": w}, "flow", self.layout)
        return load_codes(self.path("codes.pt"))

    def attributes(self, split: CodeSplit) -> Bools:
        """Signs of numbers of the codes."""
        return np.asarray(self.codes.w["flow"][:, 0, :ATTRIBUTES].numpy() > 0)

    def faces(self, split: CodeSplit) -> Batch:
        """Pictures as G makes them."""
        return lambda rows: Painter()(self.codes.w["flow"][torch.from_numpy(rows)])

    @cached_property
    def judge(self) -> PerceptualDistance:
        """A VGG16 that has learned nothing."""
        torch.manual_seed(0)
        return PerceptualDistance(VGG16(2))

    @property
    def flow_options(self) -> Mapping[Space, FlowOptions]:
        """A few steps, of two kinds that can be told apart."""
        one = FlowOptions(couplings=2, steps=4, hidden=8, batch=8, rate=1e-2)
        two = FlowOptions(
            couplings=2, steps=3, hidden=8, batch=8, identity_weight=7.0, identity_batch=2
        )
        return {Space.W_STAR: one, Space.W_STAR_ID: two}


def small(run: Path, layout: Layout = 6) -> Small:
    """A study with everything that variants need."""
    study = Small(run, layout)
    for file, stage in flow_stages(study):
        if file in VARIANTS_NEED:
            make(study, file, stage)
    return study


def differing(one: FlowOptions, two: FlowOptions) -> set[str]:
    """Names of settings that differ."""
    return {f.name for f in fields(one) if getattr(one, f.name) != getattr(two, f.name)}


def test_names_are_unique_and_fit_for_folders() -> None:
    names = [one.name for one in VARIANTS]
    assert len(set(names)) == len(names)
    assert all(name.replace("_", "").isalnum() for name in names)
    assert all(variant(name).name == name for name in names)
    with pytest.raises(InvalidInput, match="variant: found 'X', allowed: H, L3"):
        variant("X")


@pytest.mark.parametrize("one", VARIANTS, ids=lambda one: one.name)
def test_a_variant_changes_what_its_name_says(one: Variant, tmp_path: Path) -> None:
    study = Small(tmp_path)
    options = one.options(study, seed=3)
    allowed = {"couplings", "seed", *one.changes}
    assert differing(options, study.flow_options[one.space]) == allowed
    assert options.couplings == (4 if one.name == "L4" else 3 if one.name[0] in "IL" else 13)
    # Eq. 5 is that of the ID variants, but for the one that tells what it does.
    assert (options.identity_weight > 0) == (one.name.startswith("ID") and one.name != "ID0")
    assert (options.distance_weight == 0) == (one.name == "A")
    assert (options.masks == "alternating") == (one.name == "H_alt")
    assert options.tanh_t == (one.name == "H_tanh")


@pytest.mark.parametrize("one", VARIANTS, ids=lambda one: one.name)
def test_a_variant_trains_in_its_folder_once(one: Variant, tmp_path: Path) -> None:
    study = small(tmp_path)
    folder = tmp_path / "variants" / one.name
    made = train_variant(study, one, 1, folder)
    w = study.codes.w["flow"]
    assert len(made.couplings) == one.options(study, 1).couplings
    assert (made(w) != w).any()
    last = json.loads((folder / "flow.jsonl").read_text().splitlines()[-1])
    assert ("identity" in last) == (one.options(study, 1).identity_weight > 0)
    start = json.loads((folder / FILE).read_text())[0]
    assert start["options"] == json.loads(json.dumps(asdict(one.options(study, 1))))
    assert {"codes.pt", "features.pt", "classifiers.pt"} <= set(start["data_sha256"])
    before = (folder / "flow.pt").stat().st_mtime_ns
    assert torch.equal(train_variant(study, one, 1, folder)(w), made(w))
    assert (folder / "flow.pt").stat().st_mtime_ns == before
    assert len(json.loads((folder / FILE).read_text())) == 1
    # What is served is not touched.
    assert not (tmp_path / "flow.pt").exists() and not (tmp_path / "flow_id.pt").exists()


@pytest.mark.parametrize("layout", ["rows", "flat"])
def test_variants_train_in_every_layout(layout: Layout, tmp_path: Path) -> None:
    study = small(tmp_path, layout)
    w = study.codes.w["flow"]
    for name in ("R", "ID1"):
        made = train_variant(study, variant(name), 0, tmp_path / name)
        assert made.flat == (layout == "flat")
        assert (made.inverse(made(w)) - w).abs().max() / w.std() < 1e-5


def test_a_seed_decides_the_whole_of_a_variant(tmp_path: Path) -> None:
    study = small(tmp_path)

    def trained(seed: int, folder: str) -> Flow:
        return train_variant(study, variant("R"), seed, tmp_path / folder)

    w = study.codes.w["flow"]
    assert torch.equal(trained(0, "a")(w), trained(0, "b")(w))
    assert not torch.equal(trained(1, "c")(w), trained(0, "a")(w))


def test_exact_distances_train_too(tmp_path: Path) -> None:
    class Looking(Small):
        """A study whose judge looks at every batch."""

        @property
        def flow_options(self) -> Mapping[Space, FlowOptions]:
            options = super().flow_options
            exact = FlowOptions(**{**asdict(options[Space.W_STAR]), "perceptual": "exact"})
            return {**options, Space.W_STAR: exact}

    small(tmp_path)
    sketched = train_variant(Small(tmp_path), variant("L3"), 0, tmp_path / "sketched")
    exact = train_variant(Looking(tmp_path), variant("L3"), 0, tmp_path / "exact")
    w = load_codes(tmp_path / "codes.pt").w["flow"]
    assert not torch.equal(sketched(w), exact(w))
    # Towards nearly the same distances T goes nearly the same way.
    first, second = ((flow(w) - w).flatten() for flow in (sketched, exact))
    assert torch.cosine_similarity(first, second, dim=0) > 0.9


@pytest.mark.parametrize("each", [True, False])
def test_random_classifiers_are_a_fixed_draw_that_is_uncertain(each: bool) -> None:
    drawn = random_classifiers(40, 128, 5, each)
    assert drawn.weight.shape == (40, 128) and not drawn.bias.any()
    again = random_classifiers(40, 128, 5, each)
    assert np.array_equal(drawn.weight, again.weight)
    for other in (random_classifiers(40, 128, 6, each), random_classifiers(40, 128, 5, not each)):
        assert not np.array_equal(drawn.weight, other.weight)
    # Rows are independent: cosines of 128 numbers have a deviation of 0.09.
    unit = drawn.weight / np.linalg.norm(drawn.weight, axis=1, keepdims=True)
    assert np.abs(unit @ unit.T - np.eye(40)).max() < 0.45
    # Coordinates whose variance is 1 on average, as standardised ones' is.
    variance = np.random.default_rng(0).permutation(2.0 * np.arange(128) / 127)
    x = np.random.default_rng(1).standard_normal((2000, 128)) * np.sqrt(variance)
    assert drawn.logits(x).std() == pytest.approx(1.0, rel=0.1)


def test_random_classifiers_stay_as_they_were_drawn(tmp_path: Path) -> None:
    study = small(tmp_path)
    before = checkpoint.load(tmp_path / "classifiers.pt")
    train_variant(study, variant("R"), 0, tmp_path / "R")
    after = checkpoint.load(tmp_path / "classifiers.pt")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert load_flow(tmp_path / "R" / "flow.pt").training is False
