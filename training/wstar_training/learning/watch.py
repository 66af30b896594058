"""Tells a training that has gone wrong from one that fluctuates."""

from __future__ import annotations

import math
from typing import Any

# Losses of batches of one T differ by factors below 10, a thousand is no batch's bad luck; and a
# loss near 0 may well be a thousand times its best, but not above where training began.
_FACTOR = 1e3
# One such step may be a spike that the next ones undo, and Adam's memory is 10 steps long.
_STEPS = 20


class Watch:
    """Looks at the loss of every step.

    A loss diverges that is a thousand times its best, and above its first, 20 steps on end.
    """

    def __init__(self) -> None:
        self.first = math.nan
        self.best = math.inf
        self.above = 0

    @property
    def calm(self) -> bool:
        """Whether the last loss was no suspect: a state worth keeping."""
        return self.above == 0

    def look(self, loss: float, gradient: float) -> None:
        """See the loss of a step and the norm of its gradient, before the step is taken.

        Raises
        ------
        FloatingPointError: one of them is not finite, or the loss diverges.
        """
        for name, value in (("loss", loss), ("gradient", gradient)):
            if not math.isfinite(value):
                raise FloatingPointError(f"the {name} is {value}")
        if math.isnan(self.first):
            self.first = loss
        self.above = self.above + 1 if loss > max(self.first, _FACTOR * self.best) else 0
        self.best = min(self.best, loss)
        if self.above == _STEPS:
            raise FloatingPointError(
                f"the loss diverges: it is {loss:.3g}, was {self.best:.3g} at its best, and has "
                f"been above {_FACTOR:g} times that for {_STEPS} steps"
            )

    def state(self) -> dict[str, Any]:
        """What `restore` takes."""
        return {"first": self.first, "best": self.best, "above": self.above}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.first, self.best, self.above = state["first"], state["best"], state["above"]
