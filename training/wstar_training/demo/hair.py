"""Hair and facial hair of demo faces."""

import torch
from torch import Tensor

from wstar_training.demo.canvas import Canvas, Window, ellipse, smooth
from wstar_training.demo.face import Faces
from wstar_training.demo.palette import plain

CAP_LINE = 0.40


def _mass(window: Window, faces: Faces) -> Tensor:
    """Return the signed distance to all hair as seen from the front without a face in it."""
    length, wave, volume = faces["hair_length"], faces["hair_wave"], faces["hair_volume"]
    side, _ = faces.mirrored(window, faces.head_x)
    long = smooth(length, 0.25, 0.5)
    wavy = smooth(wave, 0.25, 0.9)
    half = faces.half_width + 0.020 + 0.016 * long + 0.008 * volume + 0.020 * wavy
    top = 0.085 - 0.010 * volume - 0.012 * wavy
    up = ellipse(side, window.y - CAP_LINE, half, CAP_LINE - top)
    drop = (window.y - CAP_LINE).clamp(min=0)
    end = 0.50 + 0.62 * length * long
    swing = wavy * (0.011 + 0.009 * long) * torch.sin(33 * window.y + 20 * (side**2 + 0.006).sqrt())
    flare = long * 0.10 * drop * (1 + 0.8 * wavy) - (1 - long) * 0.25 * drop
    down = side - half - flare
    down = torch.maximum(down, window.y - end + 0.9 * (side - 0.30).clamp(min=0))
    shape = torch.where(window.y < CAP_LINE, up, down)
    return shape - swing


def _paint(window: Window, faces: Faces, opacity: Tensor) -> None:
    """Paint hair with strands that run from the crown down and a band of sheen."""
    window.paint(opacity, faces.hair)
    wavy = smooth(faces["hair_wave"], 0.25, 0.9)
    spread = 0.40 + 0.60 * smooth(window.y, 0.05, 0.50)
    across = (window.x - 0.5 - 0.05 * faces["hair_part"] * (1 - window.y)) / spread
    phase = (44 - 10 * wavy) * across + 1.7 * wavy * torch.sin(26 * window.y + 5 * across)
    strand = torch.sin(phase)
    deep = 0.30 + 0.14 * wavy
    window.paint(opacity * (deep * strand).clamp(min=0), faces.hair * 0.55)
    pale = 1 - (1 - faces.hair) * 0.72
    window.paint(opacity * (-0.32 * strand).clamp(min=0), pale)
    side = window.x - faces.head_x - 0.06 * faces["light_side"]
    sheen = ellipse(side, window.y - 0.46, 0.24, 0.30).abs()
    lit = (1 - sheen / 0.05).clamp(min=0) * smooth(0.42 - window.y, 0.0, 0.2)
    straight = 1 - 0.6 * wavy
    window.paint(opacity * 0.42 * lit * straight, pale)


def draw_back_hair(canvas: Canvas, faces: Faces) -> None:
    """Draw the hair behind head and neck, in shade."""
    window = canvas.window()
    hair = window.cover(_mass(window, faces)) * (faces["bald"] < 0.5)
    window.paint(hair * smooth(faces["hair_length"], 0.25, 0.45), faces.hair * 0.62)


def draw_front_hair(canvas: Canvas, faces: Faces) -> None:
    """Draw the hair around the face: hairline, parting, bangs, side locks."""
    window = canvas.window(top=0.03)
    length, bangs = faces["hair_length"], smooth(faces["bangs"], 0.2, 0.7)
    recede, bald = faces["recede"], smooth(faces["bald"], 0.3, 0.6)
    long = smooth(length, 0.25, 0.5)
    dx = window.x - faces.mouth_x
    side = dx.abs()
    line = 0.275 - 0.012 * faces["hair_part"].abs()
    # The opening in which the face shows: an arch whose crown follows the parting.
    part = 0.075 * faces["hair_part"].clamp(-1.2, 1.2) * (1 - bangs)
    rx = faces.half_width - 0.012 - 0.020 * long
    crown = line - 0.04
    wide = ellipse(dx, window.y - 0.58, rx, 0.58 - crown)
    below = torch.where(window.y > 0.58, side - rx, wide)
    tilt = window.y - line - 0.9 * part * dx / 0.2 * 0.5
    tilt = tilt - 1.6 * (dx + part).abs().clamp(max=0.2) * 0.25
    opening = torch.maximum(below, -tilt)
    fringe = 0.375 + 0.010 * torch.cos(38 * dx + 2 * faces["hair_part"])
    fringe = fringe + 0.6 * side * side
    opening = torch.maximum(opening, (fringe - window.y) * bangs - (1 - bangs))
    # A hairline that has drawn back: two bays beside a tuft.
    tuft = 0.20 - 0.9 * side * side + 0.055 * (1 - side / 0.055).clamp(min=0)
    drawn_back = torch.maximum(tuft - window.y, side - rx + 0.004)
    drawn_back = torch.maximum(drawn_back, ellipse(dx, window.y - 0.50, rx, 0.36))
    opening = torch.where(recede > 0.3, torch.minimum(opening, drawn_back), opening)
    front_end = 0.47 + 0.62 * length * long + 0.03 * (1 - long)
    mass = torch.maximum(_mass(window, faces), window.y - front_end)
    hair = torch.maximum(mass, -opening)
    thin = window.cover(hair) * (1 - bald)
    edge = window.cover(opening.abs() - 0.012, 0.02) * window.cover(faces.outline(window))
    window.paint(0.35 * edge * (1 - thin) * (1 - bald) * (window.y < front_end), faces.shadow)
    _paint(window, faces, thin)
    rest = torch.maximum(mass, faces.half_width - 0.030 - (window.x - faces.head_x).abs())
    rest = torch.maximum(rest, 0.36 - window.y)
    window.paint(bald * 0.8 * window.cover(rest, 0.012), faces.hair * 0.9)


def draw_beard(canvas: Canvas, faces: Faces) -> None:
    """Draw stubble, full beard, goatee, mustache and sideburns."""
    window = canvas.window(top=0.38, bottom=0.97, left=0.14, right=0.86)
    x = window.x - faces.mouth_x
    side = x.abs()
    outline = faces.outline(window)
    cheek = 0.775 - 0.085 * smooth(side, 0.06, 0.13) - 0.20 * smooth(side, 0.17, 0.27)
    lip = torch.maximum((window.y - 0.672).abs() - 0.026, side - 0.115)
    jaw = torch.minimum(cheek - window.y, lip)
    shade = window.cover(jaw, 0.05) * window.cover(outline)
    window.paint(0.50 * faces["stubble"] * shade, faces.hair * 0.5 + plain(0.10, 0.11, 0.13))

    colour = faces.hair * 0.86
    full = window.cover(torch.maximum(cheek - window.y, outline - 0.016), 0.012)
    beard = smooth(faces["beard"], 0.2, 0.65) * 0.95
    window.paint(beard * full, colour)
    ripple = torch.sin(70 * x * (1 + 0.3 * (window.y - 0.7)))
    window.paint(beard * full * 0.25 * ripple.clamp(min=0), faces.hair * 0.5)

    tuft = ellipse(x, window.y - 0.845, 0.088, 0.078)
    tuft = torch.maximum(tuft, 0.79 - window.y + 0.35 * side)
    goatee = smooth(faces["goatee"], 0.2, 0.65) * 0.95
    window.paint(goatee * window.cover(tuft, 0.010), colour)

    arch = window.y - 0.674 - 0.9 * side * side - 0.012 * smooth(side, 0.05, 0.12)
    hairy = torch.maximum(arch.abs() - 0.023 * (1 - 3.2 * side * side / 0.1), side - 0.120)
    mustache = smooth(faces["mustache"], 0.2, 0.65) * 0.96
    window.paint(mustache * window.cover(hairy, 0.006), colour)

    head_side = (window.x - faces.head_x).abs()
    strip = (head_side - faces.half_width + 0.020).abs() - 0.024
    strip = torch.maximum(strip, (window.y - 0.53).abs() - 0.12)
    burn = smooth(faces["sideburns"], 0.2, 0.65) * 0.95
    window.paint(burn * window.cover(torch.maximum(strip, outline - 0.01), 0.008), colour)
