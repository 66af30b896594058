"""The demo world's faces: who is drawn, what their labels say, and that the picture shows it."""

import numpy as np
import pytest

from wstar.attributes import ATTRIBUTES
from wstar_training.demo.population import Population, sample, vary
from wstar_training.demo.renderer import render

# Parameter, value that shows the attribute, value that does not.
SWITCHES = [
    ("5_o_Clock_Shadow", "stubble", 0.8, 0.0),
    ("Arched_Eyebrows", "brow_arch", 1.2, -1.0),
    ("Bags_Under_Eyes", "bags", 0.85, 0.1),
    ("Bald", "bald", 0.8, 0.0),
    ("Bangs", "bangs", 0.8, 0.0),
    ("Big_Lips", "lip_full", 1.5, -0.8),
    ("Big_Nose", "nose_width", 1.3, -0.8),
    ("Blond_Hair", "hair_tone", 0.9, 0.4),
    ("Blurry", "blur", 0.8, 0.0),
    ("Bushy_Eyebrows", "brow_thick", 1.6, -0.8),
    ("Chubby", "weight", 1.8, -0.5),
    ("Double_Chin", "double_chin", 0.8, 0.0),
    ("Eyeglasses", "glasses", 0.8, 0.0),
    ("Goatee", "goatee", 0.8, 0.0),
    ("Gray_Hair", "hair_grey", 0.8, 0.0),
    ("Heavy_Makeup", "makeup", 0.8, 0.0),
    ("High_Cheekbones", "cheekbones", 1.5, -1.2),
    ("Male", "sex", 0.8, -0.8),
    ("Mouth_Slightly_Open", "mouth_open", 0.8, 0.0),
    ("Mustache", "mustache", 0.8, 0.0),
    ("Narrow_Eyes", "eye_narrow", 1.7, -0.8),
    ("Oval_Face", "oval", 1.4, -1.0),
    ("Pale_Skin", "skin", 0.03, 0.3),
    ("Pointy_Nose", "nose_point", 1.4, -1.0),
    ("Receding_Hairline", "recede", 0.8, 0.0),
    ("Rosy_Cheeks", "blush", 0.8, 0.0),
    ("Sideburns", "sideburns", 0.8, 0.0),
    ("Smiling", "smile", 0.8, -0.1),
    ("Wavy_Hair", "hair_wave", 0.9, 0.1),
    ("Wearing_Earrings", "earrings", 0.8, 0.0),
    ("Wearing_Hat", "hat", 0.8, 0.0),
    ("Wearing_Lipstick", "lipstick", 0.8, 0.0),
    ("Wearing_Necklace", "necklace", 0.8, 0.0),
    ("Wearing_Necktie", "necktie", 0.8, 0.0),
    ("Young", "age", 0.3, 0.85),
]
BARE = dict.fromkeys(
    ["stubble", "mustache", "goatee", "beard", "bald", "recede", "bangs", "hat", "glasses"]
    + ["hair_grey", "makeup", "lipstick", "blur", "necktie", "necklace", "smile", "sideburns"],
    0.0,
)


@pytest.fixture(scope="module")
def crowd() -> Population:
    return sample(0, 20000)


def test_same_seed_draws_and_renders_the_same_faces() -> None:
    first, second = sample(3, 6), sample(3, 6)
    np.testing.assert_array_equal(first.identity, second.identity)
    np.testing.assert_array_equal(first.attributes, second.attributes)
    np.testing.assert_array_equal(render(first), render(second))
    assert not np.array_equal(first.identity, sample(4, 6).identity)


def test_longer_draw_begins_with_the_same_faces() -> None:
    short, long = sample(5, 7), sample(5, 90)
    np.testing.assert_array_equal(short.identity, long.identity[:7])
    np.testing.assert_array_equal(short.nuisance, long.nuisance[:7])
    np.testing.assert_array_equal(render(short), render(long)[:7])


def test_pictures_have_the_stated_shape_at_any_supersampling() -> None:
    faces = sample(1, 3)
    coarse, fine = render(faces, supersample=1), render(faces, supersample=3)
    assert coarse.shape == fine.shape == (3, 64, 64, 3)
    assert coarse.dtype == fine.dtype == np.uint8
    assert np.abs(coarse.astype(float) - fine).mean() < 4
    assert render(sample(1, 0)).shape == (0, 64, 64, 3)


def test_parameters_are_finite_and_pictures_use_the_range(crowd: Population) -> None:
    assert np.isfinite(crowd.identity).all() and np.isfinite(crowd.nuisance).all()
    pictures = render(crowd.slice(0, 128))
    assert pictures.std() > 40
    assert pictures.min() < 20 and pictures.max() > 240


def test_rates_stay_close_to_celeba(crowd: Population) -> None:
    rates = dict(zip(ATTRIBUTES, crowd.attributes.mean(axis=0), strict=True))
    assert all(0.045 < rate < 0.95 for rate in rates.values()), rates
    expected = {
        "Male": 0.42,
        "Smiling": 0.48,
        "Young": 0.75,
        "Eyeglasses": 0.11,
        "Wearing_Hat": 0.08,
        "Bangs": 0.18,
        "Blond_Hair": 0.16,
        "Attractive": 0.51,
    }
    for name, rate in expected.items():
        assert abs(rates[name] - rate) < 0.025, (name, rates[name])


@pytest.mark.parametrize(
    ("one", "other", "sign"),
    [
        ("Male", "No_Beard", -1),
        ("Male", "Mustache", 1),
        ("Male", "Wearing_Necktie", 1),
        ("Male", "Wearing_Lipstick", -1),
        ("Male", "Arched_Eyebrows", -1),
        ("Heavy_Makeup", "Wearing_Lipstick", 1),
        ("Young", "Gray_Hair", -1),
        ("Young", "Bald", -1),
        ("Young", "Bags_Under_Eyes", -1),
        ("Smiling", "High_Cheekbones", 1),
        ("Smiling", "Narrow_Eyes", 1),
        ("Smiling", "Mouth_Slightly_Open", 1),
        ("Chubby", "Double_Chin", 1),
    ],
)
def test_attributes_correlate_as_in_life(
    crowd: Population, one: str, other: str, sign: int
) -> None:
    pair = crowd.attributes[:, [ATTRIBUTES.index(one), ATTRIBUTES.index(other)]]
    correlation = np.corrcoef(pair.T.astype(float))[0, 1]
    assert sign * correlation > 0.1


def test_women_have_no_facial_hair_and_hair_colours_exclude_each_other(crowd: Population) -> None:
    named = dict(zip(ATTRIBUTES, crowd.attributes.T, strict=True))
    assert named["No_Beard"][~named["Male"]].all()
    colours = sum(named[f"{c}_Hair"].astype(int) for c in ("Black", "Blond", "Brown", "Gray"))
    assert np.max(colours) == 1
    assert not (named["Straight_Hair"] & named["Wavy_Hair"]).any()


def test_vary_keeps_the_person_and_changes_the_day(crowd: Population) -> None:
    today = crowd.slice(0, 2000)
    tomorrow = vary(today, 9)
    np.testing.assert_array_equal(today.identity, tomorrow.identity)
    assert (today.nuisance != tomorrow.nuisance).any(axis=1).all()
    for name in ("Male", "Young", "Chubby", "Mustache", "Big_Nose"):
        column = ATTRIBUTES.index(name)
        np.testing.assert_array_equal(today.attributes[:, column], tomorrow.attributes[:, column])
    smiling = ATTRIBUTES.index("Smiling")
    assert (today.attributes[:, smiling] != tomorrow.attributes[:, smiling]).mean() > 0.3


@pytest.mark.parametrize(("attribute", "parameter", "shown", "hidden"), SWITCHES)
def test_switching_an_attribute_changes_label_and_picture(
    attribute: str, parameter: str, shown: float, hidden: float
) -> None:
    faces = sample(8, 4).replace(**BARE)
    present = faces.replace(**{parameter: shown})
    absent = faces.replace(**{parameter: hidden})
    column = ATTRIBUTES.index(attribute)
    assert present.attributes[:, column].all()
    assert not absent.attributes[:, column].any()
    change = np.abs(render(present).astype(int) - render(absent)).max(axis=3)
    # At least a few pixels of every face differ by an amount the eye can see.
    assert ((change > 12).sum(axis=(1, 2)) >= 8).all()


def test_unknown_parameter_is_refused() -> None:
    faces = sample(0, 1)
    with pytest.raises(KeyError):
        faces.replace(wings=1.0)
    with pytest.raises(KeyError):
        faces.parameter("wings")
