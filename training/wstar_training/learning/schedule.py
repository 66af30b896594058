"""How the learning rate goes on."""

from __future__ import annotations

import math

from wstar_training.learning.config import FlowOptions


def learning_rate(options: FlowOptions, step: int) -> float:
    """Rate of a step, counted from 0."""
    rate = options.rate
    if options.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / options.steps))
    if step < options.warmup:
        rate *= (step + 1) / options.warmup
    return rate
