"""Random draws of the parameters of demo faces, with correlations close to those of CelebA.

Scores are standard normal, clipped to -2..2; strengths are 0..1, with a gap between "absent"
(near 0) and "present" (0.6 and more) where a face either has the thing or has it not.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

IDENTITY = (
    "sex",  # -1 female .. 1 male, never between -0.7 and 0.7
    "age",  # 0..1, young below 0.55
    "weight",
    "skin",  # 0 pale .. 1 dark
    "skin_warmth",
    "face_width",
    "jaw",
    "oval",
    "cheekbones",
    "eye_size",
    "eye_tilt",
    "eye_narrow",
    "iris",  # 0 dark brown .. 1 blue
    "brow_thick",
    "brow_arch",
    "nose_width",
    "nose_length",
    "nose_point",
    "lip_full",
    "mouth_width",
    "hair_tone",  # 0 black .. 0.45 brown .. 1 blond
    "hair_red",
    "hair_grey",
    "hair_length",  # 0 cropped .. 1 below the shoulders
    "hair_wave",
    "hair_volume",
    "hair_part",
    "bangs",
    "recede",
    "bald",
    "stubble",
    "mustache",
    "goatee",
    "beard",
    "sideburns",
    "double_chin",
    "bags",
)

NUISANCE = (
    "yaw",  # -1..1, about 12 degrees at 1
    "light_side",  # -1 from the left .. 1 from the right
    "light_warmth",
    "gaze",
    "smile",  # -0.2 sullen .. 1 broad
    "mouth_open",
    "background_hue",  # 0..1
    "background_value",
    "background_slope",
    "clothes_hue",
    "clothes_value",
    "glasses",
    "glasses_tone",
    "glasses_round",
    "hat",
    "hat_hue",
    "hat_brim",
    "earrings",
    "necklace",
    "necktie",
    "tie_hue",
    "makeup",
    "lipstick",
    "blush",
    "blur",
)


class Draws:
    """Independent columns of random numbers whose rows do not depend on how many are drawn."""

    def __init__(self, seed: np.random.SeedSequence, count: int, columns: int) -> None:
        normal_seed, uniform_seed = seed.spawn(2)
        normal = np.random.Generator(np.random.PCG64(normal_seed)).standard_normal((count, columns))
        uniform = np.random.Generator(np.random.PCG64(uniform_seed)).random((count, columns))
        self._normal: Iterator[NDArray[np.float64]] = iter(normal.T)
        self._uniform: Iterator[NDArray[np.float64]] = iter(uniform.T)

    def score(self) -> NDArray[np.float64]:
        """Return standard normal numbers clipped to -2..2, (count,)."""
        return np.clip(next(self._normal), -2, 2)

    def uniform(self) -> NDArray[np.float64]:
        """Return uniform numbers in 0..1, (count,)."""
        return next(self._uniform)

    def chance(self, probability: float | NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return true with the given probability, (count,)."""
        return self.uniform() < probability

    def strength(self, present: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return 0.65..1 where present, 0 elsewhere, (count,)."""
        return np.where(present, 0.65 + 0.35 * self.uniform(), 0.0)


def draw_identity(seed: np.random.SeedSequence, count: int) -> FloatArray:
    """Draw who the faces are, float32 (count, len(IDENTITY))."""
    draws = Draws(seed, count, 64)
    male = draws.chance(0.42)
    u = draws.uniform()
    age = np.where(u < 0.75, 0.5 * u / 0.75, 0.62 + 0.38 * (u - 0.75) / 0.25)
    old = age > 0.55
    sex = np.where(male, 1, -1) * (0.7 + 0.3 * draws.uniform())
    weight = np.clip(draws.score() + 0.3 * (age - 0.4), -2, 2.2)
    pale = draws.chance(0.065)
    u = draws.uniform()
    skin = np.where(pale, 0.06 * u, 0.15 + 0.85 * u**2.1)
    dark = skin > 0.6

    kind = draws.uniform()
    black = np.where(dark, 0.62, 0.12)
    blond = np.where(dark, 0.03, np.where(male, 0.14, 0.32))
    within = draws.uniform()
    hair_tone = np.select(
        [kind < black, kind > 1 - blond, kind > 1 - blond - np.where(dark, 0.12, 0.36)],
        [0.1 * within, 0.84 + 0.16 * within, 0.36 + 0.24 * within],
        0.18 + 0.12 * within,
    )
    grey = draws.chance(np.where(old, 0.27, 0.005))
    bald = draws.chance(np.where(male, np.where(old, 0.27, 0.1), 0.0))
    recede = ~bald & draws.chance(np.where(male, np.where(old, 0.42, 0.16), 0.035))
    long = draws.chance(np.where(male, 0.1, 0.85))
    bangs = ~bald & ~recede & draws.chance(np.where(male, 0.15, 0.26))

    kind = draws.uniform()
    bearded, goateed = male & (kind < 0.11), male & (kind > 0.11) & (kind < 0.25)
    stubbled = male & (kind > 0.25) & (kind < 0.5)
    mustached = male & (
        (kind > 0.5) & (kind < 0.565) | bearded & draws.chance(0.6) | goateed & draws.chance(0.25)
    )
    burned = male & ~bald & ~long & draws.chance(np.where(bearded, 0.65, 0.14))
    chin = weight + 0.35 * draws.score() + 0.5 * (age - 0.4) > 1.52
    brown_eyed = draws.chance(np.where(dark, 0.9, 0.4))
    u = draws.uniform()

    values = {
        "sex": sex,
        "age": age,
        "weight": weight,
        "skin": skin,
        "skin_warmth": draws.score(),
        "face_width": draws.score(),
        "jaw": np.clip(0.7 * draws.score() + 0.7 * sex, -2, 2),
        "oval": np.clip(draws.score() - 0.3 * sex, -2, 2),
        "cheekbones": draws.score(),
        "eye_size": draws.score(),
        "eye_tilt": draws.score(),
        "eye_narrow": draws.score(),
        "iris": np.where(brown_eyed, 0.25 * u, 0.4 + 0.6 * u),
        "brow_thick": 0.8 * draws.score() + 0.55 * sex,
        "brow_arch": 0.85 * draws.score() - 0.5 * sex,
        "nose_width": 0.85 * draws.score() + 0.35 * sex + 0.3 * dark,
        "nose_length": draws.score(),
        "nose_point": draws.score(),
        "lip_full": 0.85 * draws.score() - 0.3 * sex + 0.4 * dark,
        "mouth_width": draws.score(),
        "hair_tone": hair_tone,
        "hair_red": np.where(draws.chance(0.15), draws.uniform(), 0.0),
        "hair_grey": draws.strength(grey),
        "hair_length": np.where(long, 0.5 + 0.5 * draws.uniform(), 0.25 * draws.uniform()),
        "hair_wave": draws.uniform(),
        "hair_volume": draws.score(),
        "hair_part": draws.score(),
        "bangs": draws.strength(bangs),
        "recede": draws.strength(recede),
        "bald": draws.strength(bald),
        "stubble": draws.strength(stubbled),
        "mustache": draws.strength(mustached),
        "goatee": draws.strength(goateed),
        "beard": draws.strength(bearded),
        "sideburns": draws.strength(burned),
        "double_chin": draws.strength(chin),
        "bags": np.clip(0.4 + 0.3 * draws.score() + 0.5 * (age - 0.55), 0, 1),
    }
    return np.stack([values[name] for name in IDENTITY], axis=1).astype(np.float32)


def draw_nuisance(seed: np.random.SeedSequence, identity: FloatArray) -> FloatArray:
    """Draw how these people look today, float32 (count, len(NUISANCE))."""
    draws = Draws(seed, len(identity), 48)
    male = identity[:, IDENTITY.index("sex")] > 0
    old = identity[:, IDENTITY.index("age")] > 0.55
    smiling = draws.chance(np.where(male, 0.41, 0.53))
    smile = np.where(smiling, 0.55 + 0.45 * draws.uniform(), 0.35 * draws.uniform() - 0.2)
    mouth_open = draws.strength(draws.chance(np.where(smiling, 0.68, 0.28)))
    made_up = draws.chance(np.where(male, 0.0, np.where(old, 0.5, 0.7)))
    lipstick = draws.chance(np.where(male, 0.0, np.where(made_up, 0.93, 0.45)))
    tied = draws.chance(np.where(male, np.where(old, 0.28, 0.14), 0.0))
    values = {
        "yaw": draws.score() / 2,
        "light_side": draws.score() / 2,
        "light_warmth": draws.score(),
        "gaze": draws.score(),
        "smile": smile,
        "mouth_open": mouth_open,
        "background_hue": draws.uniform(),
        "background_value": draws.uniform(),
        "background_slope": draws.score(),
        "clothes_hue": draws.uniform(),
        "clothes_value": draws.uniform(),
        "glasses": draws.strength(draws.chance(np.where(old, 0.18, 0.09))),
        "glasses_tone": draws.uniform(),
        "glasses_round": draws.uniform(),
        "hat": draws.strength(draws.chance(np.where(male, 0.11, 0.065))),
        "hat_hue": draws.uniform(),
        "hat_brim": draws.uniform(),
        "earrings": draws.strength(draws.chance(np.where(male, 0.02, 0.31))),
        "necklace": draws.strength(~tied & draws.chance(np.where(male, 0.02, 0.2))),
        "necktie": draws.strength(tied),
        "tie_hue": draws.uniform(),
        "makeup": draws.strength(made_up),
        "lipstick": draws.strength(lipstick),
        "blush": draws.strength(draws.chance(np.where(made_up, 0.14, 0.045))),
        "blur": draws.strength(draws.chance(0.055)),
    }
    return np.stack([values[name] for name in NUISANCE], axis=1).astype(np.float32)
