"""Decodes, aligns and encodes pictures in threads, so that the event loop never waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
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
_POINTS: tuple[Literal["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"], ...] = (
    "left_eye",
    "right_eye",
    "nose",
    "left_mouth",
    "right_mouth",
)


class Pictures:
    """Pictures of one server; as many at once as there are threads, which bounds the memory.

    Each call has one picture at a time in the queue: calls take turns, however many or large
    the pictures of one of them are.
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

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _all(self, tasks: Iterable[Callable[[], Result]]) -> list[Result]:
        """Run tasks in the pool, one by one, until one fails or the caller goes."""
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(self._pool, task) for task in tasks]

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
