"""The 40 CelebA attributes as functions of the parameters that are drawn."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wstar.attributes import ATTRIBUTES

PRESENT = 0.5


Values = TypeVar("Values", NDArray[np.float32], Tensor)


def cheek_strength(cheekbones: Values, smile: Values) -> Values:
    """Return how far the cheekbones stand out as drawn: bones, lifted by a smile."""
    return cheekbones + 1.2 * smile


def eye_opening(eye_narrow: Values, smile: Values) -> Values:
    """Return the height of the open eye as drawn, relative to the average one."""
    return 1 - 0.22 * eye_narrow - 0.14 * smile


def label(columns: Mapping[str, NDArray[np.float32]]) -> NDArray[np.bool_]:
    """Return the attributes, bool (count, 40) in CelebA order, of faces given by parameters.

    Things a hat or a bald head leaves nothing to see of are false. Attractive has no meaning
    that a drawing could settle: it stands here for a young, smooth, slim, smiling, made-up face.
    """
    c = columns
    young = c["age"] < 0.55
    hair = c["bald"] < PRESENT
    uncovered = c["hat"] < PRESENT
    shape_seen = hair & (uncovered | (c["hair_length"] > 0.4))
    coloured = hair & (c["hair_grey"] < PRESENT)
    shaven = np.maximum.reduce([c["stubble"], c["mustache"], c["goatee"], c["beard"]]) < PRESENT
    charm = (
        1.3 * young
        + 0.6 * c["makeup"]
        + 0.7 * c["smile"]
        - 0.3 * c["weight"]
        - 0.6 * c["bags"]
        - 0.3 * c["double_chin"]
    )
    values = {
        "5_o_Clock_Shadow": c["stubble"] > PRESENT,
        "Arched_Eyebrows": c["brow_arch"] > 0.7,
        "Attractive": charm > 1.3,
        "Bags_Under_Eyes": c["bags"] > 0.6,
        "Bald": ~hair & uncovered,
        "Bangs": c["bangs"] > PRESENT,
        "Big_Lips": c["lip_full"] > 0.8,
        "Big_Nose": c["nose_width"] > 0.65,
        "Black_Hair": coloured & (c["hair_tone"] < 0.14),
        "Blond_Hair": coloured & (c["hair_tone"] > 0.7),
        "Blurry": c["blur"] > PRESENT,
        "Brown_Hair": coloured & (c["hair_tone"] > 0.33) & (c["hair_tone"] < 0.7),
        "Bushy_Eyebrows": c["brow_thick"] > 0.95,
        "Chubby": c["weight"] > 1.45,
        "Double_Chin": c["double_chin"] > PRESENT,
        "Eyeglasses": c["glasses"] > PRESENT,
        "Goatee": c["goatee"] > PRESENT,
        "Gray_Hair": hair & (c["hair_grey"] > PRESENT),
        "Heavy_Makeup": c["makeup"] > PRESENT,
        "High_Cheekbones": cheek_strength(c["cheekbones"], c["smile"]) > 0.7,
        "Male": c["sex"] > 0,
        "Mouth_Slightly_Open": c["mouth_open"] > PRESENT,
        "Mustache": c["mustache"] > PRESENT,
        "Narrow_Eyes": eye_opening(c["eye_narrow"], c["smile"]) < 0.73,
        "No_Beard": shaven,
        "Oval_Face": c["oval"] > 0.65,
        "Pale_Skin": c["skin"] < 0.1,
        "Pointy_Nose": c["nose_point"] > 0.6,
        "Receding_Hairline": (c["recede"] > PRESENT) & uncovered,
        "Rosy_Cheeks": c["blush"] > PRESENT,
        "Sideburns": c["sideburns"] > PRESENT,
        "Smiling": c["smile"] > 0.35,
        "Straight_Hair": shape_seen & (c["hair_wave"] < 0.25),
        "Wavy_Hair": shape_seen & (c["hair_wave"] > 0.65),
        "Wearing_Earrings": c["earrings"] > PRESENT,
        "Wearing_Hat": ~uncovered,
        "Wearing_Lipstick": c["lipstick"] > PRESENT,
        "Wearing_Necklace": c["necklace"] > PRESENT,
        "Wearing_Necktie": c["necktie"] > PRESENT,
        "Young": young,
    }
    return np.stack([values[name] for name in ATTRIBUTES], axis=1)
