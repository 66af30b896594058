"""What the server refuses instead of trying: too many calls at once, too much in one call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wstar.errors import InvalidInput, LimitExceeded, Overloaded

RETRY_AFTER_S = 0.5


class Admission:
    """Counts the calls worked on and refuses the next one when all places are taken.

    Not to wait is the point: a caller that is told at once can go elsewhere. Used from the
    event loop only.
    """

    def __init__(self, max_concurrency: int) -> None:
        self._max_concurrency = max_concurrency
        self._taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place; raises Overloaded when there is none."""
        if self._taken >= self._max_concurrency:
            raise Overloaded(f"the limit of {self._max_concurrency} calls at once", RETRY_AFTER_S)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


def check_batch(field: str, found: int, max_batch: int, unit: str = "faces") -> None:
    """Refuse an empty list and one above `max_batch`: InvalidInput, LimitExceeded."""
    if found == 0:
        raise InvalidInput(field, "nothing", f"1 to {max_batch} {unit}")
    if found > max_batch:
        raise LimitExceeded(field, found, max_batch, unit)
