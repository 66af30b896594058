"""Figures: both files of each, readable, the same every time, and safe for every reader."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from wstar.attributes import ATTRIBUTES
from wstar.graphs import Space
from wstar_training.figures.curves import WAYS, Curve, curves
from wstar_training.figures.edits import Edited, EditedFace, edits
from wstar_training.figures.embedding import embedding, on_a_plane
from wstar_training.figures.histograms import histograms
from wstar_training.figures.leakage import leakage
from wstar_training.figures.losses import losses, read_log
from wstar_training.figures.scatter import scatter
from wstar_training.figures.sheet import PITCH, Sheet
from wstar_training.figures.style import PALETTE, Heading, style, world_name, write
from wstar_training.figures.triplets import Triplet, disagreement, triplets

Float64 = NDArray[np.float64]
Draw = Callable[[], Figure]

WORLD = "small world"


def drawn_distances(count: int) -> tuple[Float64, dict[Space, Float64]]:
    """Perceptual distances (count, 2), and latent ones: W* follows them, W+ hardly."""
    random = np.random.default_rng(0)
    wanted = 0.1 * random.gamma(16.0, 1 / 16.0, (count, 2))
    near = wanted * random.lognormal(0.0, 0.05, (count, 2))
    far = 0.1 + 0.5 * (wanted - 0.1) + random.normal(0.0, 0.02, (count, 2))
    return wanted, {Space.W_PLUS: np.abs(far), Space.W_STAR: near}


def face(number: int, side: int = 64) -> NDArray[np.uint8]:
    """A round thing on a colour."""
    random = np.random.default_rng(number)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    inside = 1 / (1 + np.exp(20 * (np.hypot(x * 1.3, y) - 0.7)))[..., None]
    back, skin = random.integers(60, 230, (2, 3))
    return np.asarray(back + (skin - back) * inside, np.uint8)


def draw_scatter() -> Figure:
    wanted, latent = drawn_distances(300)
    return scatter(WORLD, wanted[:, 0], {space: d[:, 0] for space, d in latent.items()})


def draw_histograms() -> Figure:
    wanted, latent = drawn_distances(300)
    return histograms(WORLD, wanted[:, 0], {space: d[:, 0] for space, d in latent.items()})


def draw_triplets() -> Figure:
    wanted, latent = drawn_distances(60)
    found = disagreement(wanted, latent)
    shown = [
        Triplet(
            [face(3 * row), face(3 * row + 1), face(3 * row + 2)],
            wanted[row],
            {space: d[row] for space, d in latent.items()},
        )
        for row in found.rows[:3]
    ]
    return triplets(WORLD, shown, found)


def draw_embedding() -> Figure:
    random = np.random.default_rng(0)
    has = random.random((120, 2)) < (0.5, 0.3)
    codes = random.standard_normal((120, 2, 8)).astype(np.float32)
    codes[..., 0] += 4.0 * has[:, :1]
    planes = {space: on_a_plane((1 + i) * codes) for i, space in enumerate(Space)}
    attributes = {"Male": has[:, 0], "Wearing_Hat": has[:, 1]}
    return embedding(WORLD, planes, attributes, dict.fromkeys(planes, [0.98, 0.71]))


def draw_edits() -> Figure:
    def strip(start: int, words: list[str]) -> list[Edited]:
        return [Edited(face(start + i), word, i / 4) for i, word in enumerate(words)]

    faces = [
        EditedFace(
            strip(start, ["input", "rebuilt"]),
            [
                (
                    "W+, step",
                    strip(start + 2, ["step −6.1", "step −3.0", "step +3.0", "step +6.1"]),
                ),
                ("W*_ID, targeted", strip(start + 6, ["to 0.01", "to 0.2", "to 0.8", "to 0.99"])),
            ],
        )
        for start in (0, 10)
    ]
    return edits(WORLD, "Wearing_Hat", faces)


def log(identity: bool) -> list[dict[str, float]]:
    lines = []
    for step in range(100, 1600, 100):
        fall = step**-0.5
        line = {"step": step, "train_total": 4 * fall, "total": 5 * fall, "attribute": fall}
        line |= {"distance": 0.1 * fall, "scale": 0.0 if step < 200 else 0.05 * fall}
        lines.append(line | ({"identity": 0.6 * fall} if identity else {}))
    return lines


def draw_losses() -> Figure:
    return losses(WORLD, {Space.W_STAR: log(False), Space.W_STAR_ID: log(True)})


def draw_leakage() -> Figure:
    matrix = np.random.default_rng(0).gamma(0.7, 0.02, (len(ATTRIBUTES),) * 2)
    matrix[3] = np.nan
    heading = Heading("Leakage of edits in W+", WORLD, "20 faces per edit")
    return leakage(heading, ATTRIBUTES, matrix)


def draw_curves() -> Figure:
    change = np.linspace(0.1, 0.8, 6)
    ways = {
        name: Curve(list(change), list(k * 0.05 * change), list(1 - k * 0.2 * change))
        for k, name in enumerate(WAYS, start=1)
    }
    return curves(WORLD, "20 faces per attribute", ways)


FIGURES: list[tuple[Draw, tuple[str, ...]]] = [
    (draw_scatter, ("W+", "W*", "Pearson", "Spearman", "perceptual distance", "300 pairs")),
    (draw_histograms, ("W+ after its best rescale", "STD", "pairs", "(D* − d) / mean d")),
    (draw_triplets, ("anchor", "✓ nearer", "D* in W+ ✗", "perceptual d", "triplets")),
    (draw_embedding, ("Wearing Hat", "SVM 0.980", "t-SNE 1", "120 test codes", "W*_ID", "has it")),
    (draw_edits, ("Edits of Wearing Hat", "step −6.1", "to 0.99", "seen 0.75", "targeted")),
    (draw_losses, ("step", "loss (log scale)", "held-out codes", "identity, eq. 4")),
    (draw_leakage, ("5 o Clock Shadow", "edited", "mean |change of probability|", "20 faces")),
    (draw_curves, ("W*_ID, targeted", "achieved change", "Leakage", "Identity")),
]


@pytest.mark.parametrize(
    ("draw", "words"), FIGURES, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_figure_is_a_picture_and_a_drawing_with_words_and_the_same_every_time(
    tmp_path: Path, draw: Draw, words: tuple[str, ...]
) -> None:
    written = []
    for folder in ("first", "second"):
        with style():
            written.append(write(draw(), tmp_path / folder, "figure"))
    png, svg = written[0]
    picture = Image.open(png)
    picture.load()
    assert picture.format == "PNG" and min(picture.size) > 300
    tree = ET.parse(svg)
    said = " ".join(
        "".join(text.itertext()) for text in tree.iter("{http://www.w3.org/2000/svg}text")
    )
    for word in (WORLD, *words):
        assert word in said
    assert [path.read_bytes() for path in written[0]] == [path.read_bytes() for path in written[1]]
    assert sorted(path.name for path in (tmp_path / "first").iterdir()) == [
        "figure.png",
        "figure.svg",
    ]


def test_no_setting_of_the_caller_matters_or_is_lost() -> None:
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        before = dict(matplotlib.rcParams)
        with style():
            assert matplotlib.rcParams["font.size"] == 9
            assert matplotlib.rcParams["axes.facecolor"] == "white"
        assert dict(matplotlib.rcParams) == before


def test_a_png_of_many_photographs_is_small_and_looks_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with style():
        sheet = Sheet(10 * PITCH, 6 * PITCH, Heading("Many", WORLD, "nothing to see"))
        for number in range(60):
            grain = random.integers(0, 12, (64, 64, 3))
            sheet.picture(
                number % 10 * PITCH,
                number // 10 * PITCH,
                np.asarray(face(number) + grain, np.uint8),
            )
        png, _ = write(sheet.done(), tmp_path, "sheet")
    assert png.stat().st_size < 400_000
    shown = np.asarray(Image.open(png).convert("RGB"))[-6 * PITCH :].astype(int)
    assert np.abs(shown - sheet.pixels).mean() < 4


def seen_by(color: str, matrix: Float64) -> Float64:
    """CIE L*a*b* of a colour for an eye that mixes linear RGB by `matrix`."""
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(matrix @ linear, 0, 1) / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# Machado et al. 2009, severity 1.
EYES = {
    "all cones": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}


@pytest.mark.parametrize("eye", EYES)
def test_any_two_colours_are_told_apart_by_every_eye(eye: str) -> None:
    for one, other in itertools.combinations(PALETTE, 2):
        # 2.3 is a just noticeable difference; these are told apart in thin lines.
        assert np.linalg.norm(seen_by(one, EYES[eye]) - seen_by(other, EYES[eye])) > 35


def test_disagreements_are_counted_and_the_clearest_comes_first() -> None:
    wanted = np.array([[1.0, 2.0], [1.0, 1.1], [2.0, 1.0], [1.0, 3.0]])
    plus = np.array([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0], [1.0, 2.0]])
    star = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    found = disagreement(wanted, {Space.W_PLUS: plus, Space.W_STAR: star})
    # The fourth is agreed on; of the third, the clearest with the first, W* is wrong.
    assert found.rows.tolist() == [0, 2, 1]
    assert (found.asked, found.right) == (4, 2)


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    lines = log(True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "flow.jsonl").write_text(text + '{"step": 17')
    assert read_log(tmp_path / "flow.jsonl") == lines


def test_a_world_is_named_by_what_it_was_made_of() -> None:
    assert world_name({"world": "demo world: procedural faces"}) == "demo world"
    assert "psp.pt" in world_name({"pictures": "30000", "encoder": "psp.pt", "judge": "vgg.pth"})
