"""The moving average of the weights of T while it trains."""

from __future__ import annotations

import copy

import torch

from wstar_training.models.flow import Flow


class Average:
    """θ̄ ← θ̄ + (1 − d)·(θ − θ̄) after every step: the T that is validated and kept.

    Parameters
    ----------
    flow: the T that trains; its copy starts where it stands.
    decay: d; 0 is the weights themselves, which are only copied to be looked at. Early on it is
        less, (1 + step)/(10 + step), so that the start does not weigh for as long as the average
        remembers.
    """

    def __init__(self, flow: Flow, decay: float) -> None:
        self.flow = copy.deepcopy(flow).eval().requires_grad_(False)
        self.decay = decay

    def update(self, flow: Flow, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        if self.decay > 0:
            self._towards(flow, min(self.decay, (1 + step) / (10 + step)))

    def catch_up(self, flow: Flow) -> None:
        """Copy the weights where they are the average, before it is looked at."""
        if self.decay == 0:
            self._towards(flow, 0.0)

    @torch.no_grad()
    def _towards(self, flow: Flow, decay: float) -> None:
        for mean, weight in zip(self.flow.parameters(), flow.parameters(), strict=True):
            mean.lerp_(weight, 1.0 - decay)
