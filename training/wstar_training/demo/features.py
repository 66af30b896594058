"""Nose and mouth of demo faces."""

import torch

from wstar_training.demo.canvas import Canvas, ellipse, smooth
from wstar_training.demo.face import Faces
from wstar_training.demo.palette import plain

MOUTH_LINE = 0.725


def draw_nose(canvas: Canvas, faces: Faces) -> None:
    """Draw the nose: a lit bridge, a shaded side, wings and nostrils."""
    window = canvas.window(top=0.42, bottom=0.69, left=0.3, right=0.7)
    point = faces["nose_point"].clamp(-1.5, 2)
    sharp = smooth(point, -0.5, 1.4)
    tip = 0.608 + 0.010 * faces["nose_length"] + 0.014 * sharp
    half = (0.053 + 0.019 * faces["nose_width"] - 0.009 * point).clamp(0.03, 0.098)
    down = ((window.y - 0.44) / (tip - 0.44)).clamp(0, 1)
    axis = 0.5 + (faces.nose_x - 0.5) * down
    dx = window.x - axis
    dy = window.y - tip
    lean = torch.where(faces["light_side"] + 0.3 * faces["yaw"] < 0, 1.0, -1.0)
    bridge = 0.022 + (half - 0.022) * down**3
    flank = window.glow(dx * lean - bridge, dy * 0, 0.035, 1.0) * smooth(window.y, 0.44, 0.56)
    above = 1 - smooth(dy, 0.0, 0.03)
    window.paint(0.50 * flank * above, faces.shadow)
    window.paint(0.18 * window.glow(-dx * lean - bridge, dy * 0, 0.025, 1.0) * above, faces.shadow)
    ridge = window.glow(dx, dy + 0.06 - 0.02 * sharp, 0.020 - 0.004 * sharp, 0.13)
    window.paint((0.45 + 0.4 * sharp) * ridge, faces.light)
    under = window.glow(dx, dy - 0.030, half * 1.25, 0.030)
    window.paint(0.65 * under, faces.shadow * 0.9)
    length = 0.030 + 0.008 * sharp
    ball = ellipse(dx, dy - 0.002 - 0.012 * sharp, half * (0.62 - 0.22 * sharp), length)
    window.paint(0.95 * window.cover(ball, 0.02), faces.skin)
    side = dx.abs()
    wing = ellipse(side - half * 0.80, dy - 0.006, half * 0.36, 0.024)
    window.paint(window.cover(wing, 0.010), faces.skin * plain(0.97, 0.93, 0.92))
    rim = torch.maximum(wing.abs() - 0.0035, half * 0.72 - side)
    window.paint(0.75 * window.cover(rim, 0.006), faces.shadow * 0.85)
    hole = ellipse(side - half * 0.46, dy - 0.025 + 0.006 * sharp, half * 0.26, 0.0085)
    window.paint(0.9 * window.cover(hole, 0.004), faces.shadow * 0.42)
    spot = window.glow(dx, dy - 0.002, 0.026 - 0.008 * sharp, 0.026)
    window.paint((0.55 + 0.45 * sharp) * spot, faces.light)
    # A pointed tip hangs below the wings as a small lit wedge with a dark edge.
    wedge = (dy - 0.052 + 0.9 * side).abs() - 0.006
    window.paint(
        0.95 * sharp * window.cover(wedge, 0.006) * (1 - smooth(side, 0.020, 0.034)),
        faces.shadow * 0.5,
    )


def draw_mouth(canvas: Canvas, faces: Faces) -> None:
    """Draw lips, teeth and the corners of the mouth."""
    window = canvas.window(top=0.62, bottom=0.83, left=0.3, right=0.7)
    smile = faces.smile
    half = 0.093 + 0.006 * faces["mouth_width"] + 0.034 * smile.clamp(min=0)
    dx = (window.x - faces.mouth_x) / half
    arc = 1 - dx * dx
    line = MOUTH_LINE + 0.006 - 0.052 * smile * (dx * dx - 0.45)
    gap = 0.024 * faces["mouth_open"] * (1 + 0.35 * smile.clamp(min=0))
    full = (1 + 0.42 * faces["lip_full"]).clamp(0.35, 1.9)
    bow = 1 - 0.28 * (1 - (dx * 3).abs()).clamp(min=0)
    taper = arc.clamp(min=0).sqrt()
    top = line - gap * 0.7 * taper - 0.0205 * full * taper * bow
    bottom = line + gap * 1.3 * taper + 0.026 * full * arc
    lips = window.cover(torch.maximum(top - window.y, window.y - bottom), 0.003)
    lips = lips * (arc > 0)
    painted = faces["lipstick"].unsqueeze(1)
    feminine = (1 - faces["sex"].unsqueeze(1)) / 2
    natural = faces.skin * plain(0.84, 0.66, 0.63).lerp(plain(0.88, 0.52, 0.54), feminine)
    colour = natural.lerp(plain(0.74, 0.08, 0.16) * (0.55 + 0.5 * faces.skin), painted * 0.92)
    shade = window.glow(dx * half, window.y - bottom - 0.018, 0.065, 0.022)
    window.paint(0.5 * shade, faces.shadow)
    window.paint(lips, colour * 0.86)
    lower = smooth(window.y, line + gap, line + gap + 0.008)
    window.paint(lips * lower, colour)
    gloss = window.glow(
        dx * half - 0.01 * faces["light_side"],
        window.y - line - 1.3 * gap - 0.013 * full,
        0.035,
        0.011,
    )
    window.paint(lips * gloss * 0.5, 1 - (1 - colour) * 0.5)
    inner_top, inner_bottom = line - gap * 0.7 * taper, line + gap * 1.3 * taper
    inner = torch.maximum(inner_top - window.y, window.y - inner_bottom)
    inside = window.cover(inner) * (arc > 0) * (gap > 0.002)
    window.paint(inside, plain(0.25, 0.06, 0.07))
    teeth = window.cover(window.y - inner_top - gap * (1.15 + 0.3 * smile) * taper)
    teeth = teeth * (1 - smooth(dx.abs(), 0.72, 0.95))
    window.paint(inside * teeth, plain(0.95, 0.93, 0.90))
    closed = window.cover((window.y - line).abs() - 0.0045) * (dx.abs() < 1.06) * (gap < 0.002)
    window.paint(0.85 * closed, colour * 0.36)
    corner = ellipse(
        (window.x - faces.mouth_x).abs() - half * 1.02,
        window.y - MOUTH_LINE - 0.006 + 0.028 * smile,
        0.010,
        0.010,
    )
    window.paint(0.6 * window.cover(corner, 0.012), faces.shadow * 0.7)
