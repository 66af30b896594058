"""Arguments of the client that types alone do not guard: refused before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wstar.argument_types import MAX_TIMEOUT_S
from wstar.codes import space_name
from wstar.errors import InvalidInput
from wstar.graphs import Space


def number_name(prefix: str, field: str, value: str, allowed: Sequence[str]) -> str:
    """Name a number of an enum on the wire: `DTYPE_`, `f32` is `DTYPE_F32`.

    Raises
    ------
    InvalidInput: the value is none of `allowed`.
    """
    if value not in allowed:
        raise InvalidInput(field, value, f"one of {', '.join(allowed)}")
    return f"{prefix}{value.upper()}"


def space_number(space: Space) -> str:
    """Name a space on the wire; InvalidInput for anything but a `Space`."""
    if not isinstance(space, Space):
        raise InvalidInput("space", space, f"one of {', '.join(map(str, Space))}")
    return space_name(space)


def dtype_number(dtype: str) -> str:
    """Name a number type of codes on the wire; InvalidInput for none of f32 and f16."""
    return number_name("DTYPE_", "dtype", dtype, ("f32", "f16"))


def timeout(seconds: float) -> float:
    """Return a time in seconds, above 0 to a day; InvalidInput for any other, NaN included."""
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise InvalidInput("timeout_s", seconds, f"above 0 to {MAX_TIMEOUT_S:g} seconds")
    return seconds


def names(field: str, values: Iterable[str]) -> list[str]:
    """Return a list of names; InvalidInput for one string, which is a list of letters."""
    found = [] if isinstance(values, str) else list(values)
    if isinstance(values, str) or not all(isinstance(name, str) for name in found):
        raise InvalidInput(field, values, "a list of names")
    return found
