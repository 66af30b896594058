"""Decodes, aligns and encodes pictures in threads, so that the event loop never waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from wstar.errors import InvalidInput, LimitExceeded
from wstar.images import Format, decode, encode, encoder_input
from wstar.v1 import wstar_pb2 as pb

Pixels = NDArray[np.uint8]
Result = TypeVar("Result")
# After so long a thread turns to another call. To change over costs about 0.1 ms.
_TURN_S = 0.004
_POINTS: tuple[Literal["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"], ...] = (
    "left_eye",
    "right_eye",
    "nose",
    "left_mouth",
    "right_mouth",
)


class Pictures:
    """Pictures of one server; as many at once as there are threads, which bounds the memory.

    Calls take turns, however many or large the pictures of one of them are: a turn is one
    picture, or as many small ones as fit into a few milliseconds.
    """

    def __init__(self, max_bytes: int, max_pixels: int, threads: int) -> None:
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._pool = ThreadPoolExecutor(threads, "pictures")

    async def read(
        self, pictures: Sequence[pb.Picture], fields: Sequence[str], side: int
    ) -> list[Pixels]:
        """Make encoder inputs uint8 (S, S, 3), S = `side`; `fields` are their request paths.

        Raises ImageError, InvalidInput (landmarks), LimitExceeded (bytes, pixels).
        """
        return await self._all(
            [partial(self._read, *item, side) for item in zip(pictures, fields, strict=True)]
        )

    async def write(self, images: Pixels, format: Format) -> list[bytes]:
        """Encode generated pictures uint8 (B, R, R, 3)."""
        return await self._all([partial(encode, image, format) for image in images])

    async def reread(self, images: Pixels, side: int) -> Pixels:
        """Make encoder inputs uint8 (B, S, S, 3), S = `side`, of generated pictures."""
        return np.stack(await self._all([partial(encoder_input, image, side) for image in images]))

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _all(self, tasks: Sequence[Callable[[], Result]]) -> list[Result]:
        """Run tasks in the pool, in order, until one fails or the caller goes."""
        loop = asyncio.get_running_loop()
        found: list[Result] = []
        while len(found) < len(tasks):
            found += await loop.run_in_executor(self._pool, _turn, tasks[len(found) :])
        return found

    def _read(self, picture: pb.Picture, field: str, side: int) -> Pixels:
        landmarks = _landmarks(picture, f"{field}.landmarks")
        try:
            rgb = decode(picture.data, max_bytes=self._max_bytes, max_pixels=self._max_pixels)
        except LimitExceeded as error:
            raise LimitExceeded(f"{field}.data", error.found, error.limit, error.unit) from error
        except InvalidInput as error:
            raise type(error)(f"{field}.data", error.value, error.allowed) from error
        try:
            return encoder_input(rgb, side, landmarks)
        except InvalidInput as error:
            raise type(error)(f"{field}.landmarks", error.value, error.allowed) from error


def _turn(tasks: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run the first task, and more while time is left."""
    ends = time.monotonic() + _TURN_S
    found = [tasks[0]()]
    while len(found) < len(tasks) and time.monotonic() < ends:
        found.append(tasks[len(found)]())
    return found


def _landmarks(picture: pb.Picture, field: str) -> NDArray[np.float64] | None:
    """Five points (x, y) in px in the order of `wstar.landmarks.LANDMARKS`, None for none.

    Raises InvalidInput: a point is missing, which protobuf would read as (0, 0), or not finite.
    """
    if not picture.HasField("landmarks"):
        return None
    points = []
    for name in _POINTS:
        point = getattr(picture.landmarks, name)
        if not picture.landmarks.HasField(name):
            raise InvalidInput(f"{field}.{name}", "nothing", "a point; all five are required")
        if not np.isfinite([point.x_px, point.y_px]).all():
            raise InvalidInput(f"{field}.{name}", (point.x_px, point.y_px), "finite numbers")
        points.append((point.x_px, point.y_px))
    return np.array(points)
