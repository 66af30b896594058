"""Work of numpy and protobuf that would keep the event loop from its other calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_LONG_US = 500.0

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


async def aside(
    expected_us: float,
    work: Callable[Arguments, Result],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> Result:
    """Do work that is expected to take so many microseconds: in a thread if it is long.

    A thread costs about 0.1 ms, which short work is not worth.
    """
    if expected_us <= _LONG_US:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
