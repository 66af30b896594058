"""The faces to draw: their parameters, measures and base colours; head, neck and ears."""

import torch
from torch import Tensor

from wstar_training.demo.canvas import Canvas, Window, ellipse, smooth
from wstar_training.demo.labels import cheek_strength
from wstar_training.demo.palette import HAIR, SKIN, plain, ramp
from wstar_training.demo.population import Population
from wstar_training.demo.sampling import IDENTITY, NUISANCE

EYE_LINE = 0.47
EAR_LINE = 0.53
HEAD_LINE = 0.50
SKULL_TOP = 0.13


class Faces:
    """Parameters and derived measures of a batch of faces, each (count, 1, 1) in picture units."""

    def __init__(self, population: Population) -> None:
        identity = torch.from_numpy(population.identity).t()
        nuisance = torch.from_numpy(population.nuisance).t()
        self._columns: dict[str, Tensor] = {
            name: column.reshape(-1, 1, 1)
            for name, column in zip(
                IDENTITY + NUISANCE, torch.cat([identity, nuisance]), strict=True
            )
        }
        p = self._columns
        # A turned head shifts what is near to the viewer and leaves the aligned eyes in place.
        self.head_x = 0.5 - 0.014 * p["yaw"]
        self.nose_x = 0.5 + 0.03 * p["yaw"]
        self.mouth_x = 0.5 + 0.014 * p["yaw"]
        self.half_width = (
            0.262
            + 0.011 * p["face_width"]
            + 0.019 * p["weight"]
            + 0.008 * p["sex"]
            - 0.01 * p["oval"]
        )
        self.chin = 0.875 + 0.012 * p["oval"] + 0.007 * p["sex"] + 0.003 * p["jaw"]
        self.smile = p["smile"]
        self.hair = ramp(p["hair_tone"], HAIR)
        red = p["hair_red"].unsqueeze(1) * 0.55
        self.hair = self.hair.lerp(plain(0.52, 0.19, 0.08), red)
        grey = p["hair_grey"].unsqueeze(1)
        self.hair = self.hair.lerp(plain(0.74, 0.74, 0.76), grey)
        skin = ramp(p["skin"], SKIN)
        self.skin = (skin + p["skin_warmth"].unsqueeze(1) * plain(0.008, 0.0, -0.014)).clamp(0, 1)
        self.shadow = self.skin * plain(0.70, 0.58, 0.54)
        self.light = 1 - (1 - self.skin) * 0.62

    def __getitem__(self, name: str) -> Tensor:
        return self._columns[name]

    def mirrored(self, window: Window, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distance from a vertical axis and the side (-1 left, 1 right) it lies on."""
        dx = window.x - centre
        return dx.abs(), torch.where(dx < 0, -1.0, 1.0)

    def outline(self, window: Window) -> Tensor:
        """Return the signed distance to the head without ears and hair, (count, h, w)."""
        down = (window.y - HEAD_LINE) / (self.chin - HEAD_LINE)
        up = (window.y - HEAD_LINE) / (HEAD_LINE - SKULL_TOP)
        v = torch.where(window.y < HEAD_LINE, up, down)
        fullness = 0.13 + 0.035 * self["oval"] - 0.035 * self["jaw"] - 0.045 * self["weight"]
        s = down.clamp(0, 1)
        u = (window.x - self.head_x) / (self.half_width * (1 - fullness * s * s))
        u, v = u * u, v * v
        two = (u + v).sqrt()
        four = (u * u + v * v).sqrt().sqrt()
        square = (0.42 + 0.14 * self["jaw"]).clamp(0.1, 0.85)
        return (two + square * (four - two) - 1) * 0.28


def draw_neck(canvas: Canvas, faces: Faces) -> None:
    """Draw the neck, the chest and the shadow of the chin."""
    window = canvas.window(top=0.6, left=0.1, right=0.9)
    side, _ = faces.mirrored(window, faces.head_x * 0.5 + 0.25)
    half = 0.135 + 0.02 * faces["sex"] + 0.012 * faces["weight"]
    flare = 0.3 * (window.y - 0.9).clamp(min=0)
    neck = window.cover(side - half - flare)
    window.paint(neck, faces.skin * plain(0.93, 0.89, 0.87))
    depth = (window.y - faces.chin) / 0.10
    window.paint(neck * (0.75 - 0.55 * depth).clamp(0, 0.7), faces.shadow)


def draw_ears(canvas: Canvas, faces: Faces) -> None:
    """Draw both ears; the head is painted over their inner halves."""
    window = canvas.window(top=0.4, bottom=0.68, left=0.1, right=0.9)
    side, _ = faces.mirrored(window, faces.head_x)
    dx, dy = side - faces.half_width - 0.006, window.y - EAR_LINE
    window.paint(window.cover(ellipse(dx, dy, 0.038, 0.075)), faces.skin * plain(0.93, 0.86, 0.84))
    window.paint(0.6 * window.glow(dx - 0.004, dy, 0.026, 0.055), faces.shadow)


def draw_head(canvas: Canvas, faces: Faces) -> None:
    """Draw the skin of the head, shaded by one light."""
    window = canvas.window(top=0.1, bottom=0.93, left=0.12, right=0.88)
    distance = faces.outline(window)
    skin = window.cover(distance)
    window.paint(skin, faces.skin)
    across = (window.x - faces.head_x) / faces.half_width
    turned = (0.42 * (-faces["light_side"] * across)).clamp(min=0)
    rim = (1 + distance / 0.12).clamp(0, 1)
    low = 0.16 * smooth(window.y, 0.70, 0.90)
    window.paint(skin * (turned + 0.34 * rim * rim + low).clamp(max=0.8), faces.shadow)
    lit = window.glow(
        window.x - faces.head_x - 0.09 * faces["light_side"], window.y - 0.36, 0.25, 0.20
    )
    window.paint(skin * lit * 0.42, faces.light)


def draw_double_chin(canvas: Canvas, faces: Faces) -> None:
    """Draw the fold below the chin and the crease that separates it from the chin."""
    window = canvas.window(top=0.72, left=0.2, right=0.8)
    amount = faces["double_chin"]
    dx, dy = window.x - faces.mouth_x, window.y - faces.chin
    fold = window.cover(ellipse(dx, dy + 0.015, 0.19, 0.075))
    fold = fold * window.cover(-ellipse(dx, dy + 0.16, 0.20, 0.155))
    window.paint(amount * fold, faces.skin)
    crease = ellipse(dx, dy + 0.165, 0.19, 0.15).abs() - 0.006
    below = smooth(dy, -0.10, -0.04)
    window.paint(amount * below * window.cover(crease, 0.008), faces.shadow * 0.85)
    rim = ellipse(dx, dy + 0.015, 0.19, 0.075).abs() - 0.005
    window.paint(0.9 * amount * smooth(dy, -0.02, 0.03) * window.cover(rim, 0.01), faces.shadow)


def draw_cheeks(canvas: Canvas, faces: Faces) -> None:
    """Draw cheekbones, blush and the folds of age."""
    window = canvas.window(top=0.46, bottom=0.80, left=0.15, right=0.85)
    side, _ = faces.mirrored(window, faces.mouth_x)
    bone = (0.2 + 0.3 * cheek_strength(faces["cheekbones"], faces.smile)).clamp(0, 1)
    high = window.glow(side - 0.165, window.y - 0.575, 0.085, 0.05)
    window.paint(0.95 * bone * high, faces.light)
    slope = window.y - 0.665 + 0.55 * (side - 0.17)
    hollow = window.glow(side - 0.175, slope, 0.075, 0.04)
    window.paint(0.85 * bone * hollow, faces.shadow)
    pink = window.glow(side - 0.165, window.y - 0.60, 0.11, 0.085)
    window.paint(0.85 * faces["blush"] * pink, faces.skin * 0.35 + plain(0.60, 0.20, 0.22))
    fold = side - 0.075 - 0.32 * (window.y - 0.61) - 0.012 * faces.smile
    line = window.cover(fold.abs() - 0.006, 0.012) * smooth(window.y, 0.60, 0.63)
    line = line * (1 - smooth(window.y, 0.70, 0.75))
    strength = 0.85 * smooth(faces["age"], 0.4, 0.7) + 0.22 * faces.smile.clamp(min=0)
    window.paint(strength.clamp(max=0.9) * line, faces.shadow * 0.9)


def draw_age(canvas: Canvas, faces: Faces) -> None:
    """Draw crow's feet and the creases beside the chin that come with age."""
    old = smooth(faces["age"], 0.45, 0.7)
    window = canvas.window(top=0.42, bottom=0.56, left=0.22, right=0.78)
    side, _ = faces.mirrored(window, torch.tensor(0.5))
    reach = smooth(side, 0.195, 0.21) * (1 - smooth(side, 0.235, 0.25))
    for height, slope in ((0.468, -0.35), (0.490, 0.35)):
        line = (window.y - height - slope * (side - 0.2)).abs() - 0.0045
        window.paint(0.75 * old * reach * window.cover(line, 0.005), faces.shadow * 0.85)
    window = canvas.window(top=0.74, bottom=0.86, left=0.3, right=0.7)
    side, _ = faces.mirrored(window, faces.mouth_x)
    crease = (side - 0.118 - 0.15 * (window.y - 0.76)).abs() - 0.005
    ends = smooth(window.y, 0.755, 0.775) * (1 - smooth(window.y, 0.81, 0.84))
    window.paint(0.55 * old * ends * window.cover(crease, 0.010), faces.shadow * 0.9)


def draw_forehead(canvas: Canvas, faces: Faces) -> None:
    """Draw the lines of the forehead that come with age."""
    window = canvas.window(top=0.24, bottom=0.38, left=0.3, right=0.7)
    dx = window.x - 0.5 - 0.01 * faces["yaw"]
    strength = smooth(faces["age"], 0.45, 0.75) * (1 - (dx / 0.17) ** 2).clamp(min=0)
    for height in (0.29, 0.335):
        line = (window.y - height - 0.35 * dx * dx).abs() - 0.005
        window.paint(0.8 * strength * window.cover(line, 0.008), faces.shadow)
