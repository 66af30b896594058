"""What demo faces wear: clothes, neckties, jewellery and hats."""

import torch
from torch import Tensor

from wstar_training.demo.canvas import Canvas, box, ellipse, smooth
from wstar_training.demo.face import Faces
from wstar_training.demo.palette import plain

GOLD = (0.93, 0.74, 0.28)


def draw_clothes(canvas: Canvas, faces: Faces, cloth: Tensor) -> None:
    """Draw the shoulders; a necktie brings a shirt collar, otherwise the neck is round."""
    window = canvas.window(top=0.8)
    side, _ = faces.mirrored(window, faces.head_x * 0.4 + 0.3)
    width = 0.37 + 0.03 * faces["sex"] + 0.02 * faces["weight"]
    shoulders = box(side, window.y - 1.2, width + 0.05, 0.31, 0.2)
    bare = faces["necklace"]
    opening = ellipse(side, window.y - 0.84, 0.185 + 0.02 * bare, 0.095 + 0.045 * bare)
    window.paint(window.cover(torch.maximum(shoulders, -opening)), cloth)
    trim = torch.maximum(opening.abs() - 0.007, shoulders)
    window.paint(0.5 * window.cover(trim), cloth * 0.6)


def draw_necktie(canvas: Canvas, faces: Faces, tie: Tensor) -> None:
    """Draw a white collar with a necktie."""
    window = canvas.window(top=0.82, left=0.24, right=0.76)
    on = smooth(faces["necktie"], 0.2, 0.6)
    x = window.x - faces.head_x * 0.4 - 0.3
    side, y = x.abs(), window.y
    shirt = torch.maximum(side - 0.17 + 0.45 * (y - 0.90), 0.885 + 0.05 * side - y)
    window.paint(on * window.cover(shirt), plain(0.95, 0.95, 0.97))
    gap = torch.maximum(side - 0.055 + 1.1 * (y - 0.885).clamp(min=0), y - 0.94)
    window.paint(on * window.cover(torch.maximum(gap, 0.86 - y)), faces.shadow)
    fold = ((y - 0.90) - 0.9 * (0.15 - side).clamp(min=-0.1)).abs() - 0.004
    window.paint(on * 0.5 * window.cover(torch.maximum(fold, shirt)), plain(0.55, 0.56, 0.62))
    knot = torch.maximum(side - 0.046 + 0.35 * (y - 0.90), (y - 0.925).abs() - 0.03)
    blade = torch.maximum(side - 0.030 - 0.35 * (y - 0.94), 0.945 - y)
    window.paint(on * window.cover(blade), tie)
    window.paint(on * window.cover(knot), tie * 0.82)


def draw_necklace(canvas: Canvas, faces: Faces) -> None:
    """Draw a string of gold beads around the neck."""
    window = canvas.window(top=0.78, left=0.2, right=0.8)
    x = window.x - faces.head_x * 0.5 - 0.25
    on = smooth(faces["necklace"], 0.2, 0.6)
    ring = ellipse(x, window.y - 0.84, 0.175, 0.105)
    lower = smooth(window.y, 0.83, 0.86)
    window.paint(on * lower * window.cover(ring.abs() - 0.014), plain(0.52, 0.36, 0.10))
    window.paint(on * lower * window.cover(ring.abs() - 0.009), plain(*GOLD))
    window.paint(on * window.cover(ellipse(x, window.y - 0.955, 0.026, 0.028)), plain(*GOLD))
    window.paint(on * window.cover(ellipse(x, window.y - 0.950, 0.012, 0.012)), plain(1, 0.95, 0.8))


def draw_earrings(canvas: Canvas, faces: Faces) -> None:
    """Draw a bright drop below each ear."""
    window = canvas.window(top=0.56, bottom=0.76, left=0.1, right=0.9)
    side, _ = faces.mirrored(window, faces.head_x)
    dx = side - faces.half_width - 0.014
    on = smooth(faces["earrings"], 0.2, 0.6)
    stud = ellipse(dx, window.y - 0.61, 0.015, 0.015)
    drop = ellipse(dx, window.y - 0.665, 0.028, 0.040)
    window.paint(on * window.cover(torch.minimum(stud, drop) - 0.007), plain(0.35, 0.22, 0.06))
    window.paint(on * window.cover(torch.minimum(stud, drop)), plain(*GOLD))
    glint = ellipse(dx + 0.007, window.y - 0.653, 0.010, 0.012)
    window.paint(on * window.cover(glint), plain(1.0, 0.97, 0.85))


def draw_hat(canvas: Canvas, faces: Faces, felt: Tensor) -> None:
    """Draw a hat: a dome with a band, and a brim that may be narrow or wide."""
    window = canvas.window(bottom=0.45)
    on = smooth(faces["hat"], 0.2, 0.6)
    x = window.x - faces.head_x
    side = x.abs()
    half = faces.half_width + 0.045
    brim = smooth(faces["hat_brim"], 0.35, 0.65)
    base = 0.285 - 0.25 * side * side
    dome = torch.maximum(ellipse(x, window.y - 0.29, half, 0.265), window.y - base)
    window.paint(on * window.cover(dome), felt)
    shade = (side / half).clamp(0, 1) ** 3
    dark = 0.45 * shade + 0.2 * (x / half * -faces["light_side"]).clamp(min=0)
    window.paint(on * window.cover(dome) * dark, felt * 0.45)
    lit = window.glow(x - 0.08 * faces["light_side"], window.y - 0.12, 0.16, 0.09)
    window.paint(on * window.cover(dome) * lit * 0.4, 1 - (1 - felt) * 0.55)
    band = torch.maximum(dome, base - 0.065 - window.y)
    window.paint(on * window.cover(band), felt * (0.5 + 0.15 * (1 - brim.unsqueeze(1))))
    curve = window.y - 0.287 + 0.35 * side * side
    rim = torch.maximum(curve.abs() - 0.026 * (1 - (side / 0.5) ** 2), side - half - 0.10 * brim)
    wide = on * smooth(brim, 0.05, 0.4)
    window.paint(wide * window.cover(rim), felt * 0.85)
    window.paint(wide * window.cover((curve - 0.02).abs() - 0.006 + (rim > 0) * 1.0), felt * 0.45)
    below = smooth(window.y, base, base + 0.012) * (1 - smooth(window.y, base + 0.012, base + 0.07))
    window.paint(on * 0.4 * below * window.cover(side - faces.half_width), faces.shadow)
