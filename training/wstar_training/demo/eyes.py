"""Eyes, brows and glasses of demo faces."""

import torch

from wstar_training.demo.canvas import Canvas, box, ellipse, smooth
from wstar_training.demo.face import EYE_LINE, Faces
from wstar_training.demo.labels import eye_opening
from wstar_training.demo.palette import IRIS, plain, ramp

EYE_OFFSET = 0.125


def draw_eyes(canvas: Canvas, faces: Faces) -> None:
    """Draw both eyes with lids, eye shadow and the bags under them."""
    window = canvas.window(top=0.37, bottom=0.58, left=0.24, right=0.76)
    side, sign = faces.mirrored(window, torch.tensor(0.5))
    near = 1 + 0.07 * sign * faces["yaw"]
    dx = (side - EYE_OFFSET) / near
    dy = window.y - EYE_LINE + (0.10 + 0.06 * faces["eye_tilt"]) * dx
    opening = eye_opening(faces["eye_narrow"], faces.smile).clamp(0.48, 1.5)
    half = 0.070 * (1 + 0.05 * faces["eye_size"])
    height = 0.042 * opening * (1 + 0.06 * faces["eye_size"])
    arc = 1 - (dx / half) ** 2
    upper, lower = -height * arc - dy, dy - 0.72 * height * arc
    eye = window.cover(torch.maximum(upper, lower))
    feminine = (1 - faces["sex"]) / 2

    bag = window.glow(dx, dy - 0.062 - 0.1 * dx * dx, 0.07, 0.032)
    crease = (dy - 0.052 - 0.022 * arc).abs() - 0.005
    bags = smooth(faces["bags"], 0.3, 0.8)
    window.paint(0.7 * bags * bag, faces.shadow * plain(0.9, 0.85, 0.98))
    window.paint(0.95 * bags * arc.clamp(0, 1) * window.cover(crease, 0.006), faces.shadow * 0.62)

    makeup = faces["makeup"]
    lid = window.glow(dx - 0.008, dy + 0.036, 0.085, 0.05)
    window.paint((1.5 * makeup * lid).clamp(max=0.9), plain(0.54, 0.24, 0.56))
    socket = window.glow(dx + 0.02, dy + 0.03, 0.09, 0.055)
    window.paint(0.35 * socket, faces.shadow)

    white = plain(0.96, 0.95, 0.93) * (0.75 + 0.25 * faces.skin)
    window.paint(eye, white)
    window.paint(eye * 0.5 * smooth(dy, 0.0, -1.0 * 0.035), plain(0.45, 0.40, 0.42))
    iris_x, iris_y = dx - 0.006 * sign * faces["gaze"], dy + 0.003
    radius = (iris_x**2 + iris_y**2).sqrt()
    iris = ramp(faces["iris"], IRIS)
    window.paint(eye * window.cover(radius - 0.033), iris * 0.55)
    window.paint(eye * window.cover(radius - 0.027), iris)
    window.paint(eye * window.cover(radius - 0.014), plain(0.03, 0.03, 0.04))
    # The glint lies towards the light on both eyes alike.
    toward = 0.009 * torch.where(faces["light_side"] < 0, -1.0, 1.0) * sign
    glint = ellipse(iris_x - toward, iris_y + 0.010, 0.0085, 0.0085)
    window.paint(window.cover(glint) * eye, plain(1.0, 1.0, 1.0))

    within = window.cover(dx.abs() - half - 0.006 - 0.008 * feminine)
    lash = 0.0055 + 0.0038 * feminine + 0.0030 * makeup
    line = (upper + 0.5 * lash).abs() - lash
    window.paint(within * window.cover(line), faces.hair * 0.25 * plain(1, 0.9, 0.9))
    under = lower.abs() - 0.0025 - 0.002 * makeup
    window.paint((0.5 + 0.4 * makeup) * within * window.cover(under), faces.shadow * 0.5)
    fold = (dy + height * arc + 0.019).abs() - 0.003
    window.paint(0.6 * (1 - makeup) * within * window.cover(fold), faces.shadow * 0.9)


def draw_brows(canvas: Canvas, faces: Faces) -> None:
    """Draw the eyebrows in a darker shade of the hair."""
    window = canvas.window(top=0.29, bottom=0.46, left=0.22, right=0.78)
    side, sign = faces.mirrored(window, torch.tensor(0.5))
    dx = (side - EYE_OFFSET - 0.008) / (1 + 0.07 * sign * faces["yaw"])
    t = (dx / 0.085).clamp(-1.3, 1.3)
    arch = (0.014 + 0.019 * faces["brow_arch"]).clamp(-0.006, 0.055)
    thick = (0.0125 + 0.0052 * faces["brow_thick"]).clamp(0.005, 0.028)
    peak = 1 - (t - 0.25) ** 2
    centre = 0.397 + 0.006 * faces["sex"] - 0.35 * thick - arch * (peak - 0.3)
    taper = (1 - 0.55 * smooth(t, 0.0, 1.1)) * thick
    band = (window.y - centre).abs() - taper
    ends = dx.abs() - 0.085
    colour = faces.hair * 0.62 + faces.shadow * 0.12
    window.paint(0.92 * window.cover(torch.maximum(band, ends), 0.004), colour)


def draw_glasses(canvas: Canvas, faces: Faces, frame: torch.Tensor) -> None:
    """Draw thick-rimmed glasses with a faint reflection."""
    window = canvas.window(top=0.36, bottom=0.6, left=0.12, right=0.88)
    side, sign = faces.mirrored(window, torch.tensor(0.5))
    on = faces["glasses"]
    dx = (side - EYE_OFFSET - 0.006) / (1 + 0.06 * sign * faces["yaw"])
    dy = window.y - EYE_LINE - 0.012
    roundness = faces["glasses_round"]
    lens = box(dx, dy, 0.096, 0.066 + 0.016 * roundness, 0.025 + 0.05 * roundness)
    opaque = smooth(on, 0.2, 0.6)
    window.paint(opaque * 0.14 * window.cover(lens), plain(0.85, 0.92, 1.0))
    glare = (dx + 0.6 * dy - 0.02).abs() - 0.012
    window.paint(opaque * 0.22 * window.cover(torch.maximum(lens, glare)), plain(1.0, 1.0, 1.0))
    rim = lens.abs() - 0.0095
    bridge = torch.maximum((dy + 0.022 - 1.5 * side * side).abs() - 0.009, side - 0.04)
    temple = torch.maximum((dy + 0.025).abs() - 0.009, 0.22 - side)
    temple = torch.maximum(temple, side - faces.half_width - 0.01)
    shape = torch.minimum(torch.minimum(rim, bridge), temple)
    window.paint(opaque * window.cover(shape), frame)
