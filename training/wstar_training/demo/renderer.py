"""Pictures of demo faces: 64 x 64 pixels, aligned as FFHQ and CelebA-HQ are."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from wstar_training.demo import eyes, face, features, hair, wear
from wstar_training.demo.canvas import Canvas
from wstar_training.demo.face import Faces
from wstar_training.demo.palette import FRAME, WHEEL, plain, ramp
from wstar_training.demo.population import Population

SIZE = 64
CHUNK = 64


def render(population: Population, supersample: int = 2) -> NDArray[np.uint8]:
    """Draw faces, uint8 (count, 64, 64, 3) RGB.

    Shapes are drawn at `supersample` times the size and averaged.
    """
    with torch.no_grad():
        chunks = [
            _render(population.slice(start, start + CHUNK), supersample)
            for start in range(0, len(population), CHUNK)
        ]
    return np.concatenate(chunks) if chunks else np.zeros((0, SIZE, SIZE, 3), np.uint8)


def _render(population: Population, supersample: int) -> NDArray[np.uint8]:
    canvas = Canvas(len(population), SIZE * supersample)
    _draw(canvas, Faces(population))
    pixels = functional.avg_pool2d(canvas.pixels, supersample)
    blur = torch.from_numpy(population.parameter("blur")).view(-1, 1, 1, 1)
    pixels = pixels.lerp(_blurred(pixels), blur)
    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().numpy()


def _draw(canvas: Canvas, faces: Faces) -> None:
    """Paint from back to front."""
    dull = 0.55 + 0.35 * faces["clothes_value"].unsqueeze(1)
    cloth = ramp(faces["clothes_hue"], WHEEL).lerp(plain(0.55, 0.55, 0.58), 0.45) * dull
    cloth = cloth.lerp(plain(0.22, 0.24, 0.30), 0.8 * faces["necktie"].unsqueeze(1))
    _background(canvas, faces)
    hair.draw_back_hair(canvas, faces)
    face.draw_neck(canvas, faces)
    wear.draw_clothes(canvas, faces, cloth)
    wear.draw_necktie(canvas, faces, ramp(faces["tie_hue"], WHEEL) * 0.85)
    wear.draw_necklace(canvas, faces)
    face.draw_ears(canvas, faces)
    face.draw_head(canvas, faces)
    face.draw_double_chin(canvas, faces)
    face.draw_cheeks(canvas, faces)
    face.draw_forehead(canvas, faces)
    face.draw_age(canvas, faces)
    hair.draw_beard(canvas, faces)
    features.draw_mouth(canvas, faces)
    features.draw_nose(canvas, faces)
    eyes.draw_eyes(canvas, faces)
    eyes.draw_brows(canvas, faces)
    hair.draw_front_hair(canvas, faces)
    eyes.draw_glasses(canvas, faces, ramp(faces["glasses_tone"], FRAME))
    wear.draw_earrings(canvas, faces)
    wear.draw_hat(canvas, faces, ramp(faces["hat_hue"], WHEEL).lerp(plain(0.3, 0.3, 0.34), 0.35))
    _light(canvas, faces)


def _background(canvas: Canvas, faces: Faces) -> None:
    """Draw a muted, slightly graded backdrop."""
    window = canvas.window()
    hue = faces["background_hue"] * (2 * torch.pi)
    tint = torch.cat([torch.cos(hue + shift) for shift in (0.0, 2.1, 4.2)], dim=1)
    value = 0.62 + 0.20 * faces["background_value"]
    base = value.unsqueeze(1) + 0.035 * tint.unsqueeze(-1)
    grade = 0.10 * (0.4 - window.y) + 0.04 * faces["background_slope"] * (window.x - 0.5)
    window.pixels.copy_(base + grade.unsqueeze(1))


def _light(canvas: Canvas, faces: Faces) -> None:
    """Tint the whole picture by the warmth of the light."""
    warmth = faces["light_warmth"].unsqueeze(1)
    canvas.pixels.mul_(1 + warmth * plain(0.012, 0.0, -0.018))


def _blurred(pixels: Tensor) -> Tensor:
    """Return the pictures (count, 3, 64, 64) blurred by about 1.2 pixels."""
    kernel = torch.tensor([2.0, 4.0, 5.0, 4.0, 2.0]) / 17
    kernel = torch.outer(kernel, kernel).expand(3, 1, 5, 5)
    padded = functional.pad(pixels, (2, 2, 2, 2), mode="replicate")
    return functional.conv2d(padded, kernel, groups=3)
