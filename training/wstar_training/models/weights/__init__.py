"""Checkpoints that users own, read as they are: one module per family of files.

`load_generator`, `load_encoder`, `load_perceptual`, `load_lpips` and `load_identity` give networks
in evaluation mode on the CPU; `inspect` says what a file is. Nothing in a file is ever run.
"""

from wstar_training.models.weights.encoders import load_encoder
from wstar_training.models.weights.generators import load_generator
from wstar_training.models.weights.identity import load_identity
from wstar_training.models.weights.inspection import Inspection, inspect
from wstar_training.models.weights.lpips import load_lpips
from wstar_training.models.weights.perceptual import load_perceptual

__all__ = [
    "Inspection",
    "inspect",
    "load_encoder",
    "load_generator",
    "load_identity",
    "load_lpips",
    "load_perceptual",
]
