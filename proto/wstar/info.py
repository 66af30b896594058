"""What a server says of itself: spaces, attributes, limits and versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wstar.codes import space_of_number
from wstar.graphs import Space
from wstar.v1 import wstar_pb2 as pb


@dataclass(frozen=True)
class Limits:
    """Bounds of one request; see the fields of the same names in `wstar.proto`."""

    max_image_bytes: int
    max_image_pixels: int
    max_batch: int
    max_concurrency: int
    max_message_bytes: int


@dataclass(frozen=True)
class SpaceSummary:
    """One served space: its id, measured figures and what its models are."""

    space: Space
    space_id: str
    evaluation: Mapping[str, float]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Info:
    """What is served; n is the rows of a code, resolution and encoder_side are in pixels."""

    version: str
    spaces: tuple[SpaceSummary, ...]
    attributes: tuple[str, ...]
    n: int
    resolution: int
    encoder_side: int
    limits: Limits
    runner: str

    @classmethod
    def from_message(cls, message: pb.GetInfoResponse) -> Info:
        """Read a `GetInfo` reply."""
        return cls(
            message.version,
            tuple(
                SpaceSummary(
                    space_of_number(summary.space, "spaces.space"),
                    summary.space_id,
                    dict(summary.evaluation),
                    dict(summary.labels),
                )
                for summary in message.spaces
            ),
            tuple(message.attributes),
            message.n,
            message.resolution,
            message.encoder_side,
            Limits(
                message.limits.max_image_bytes,
                message.limits.max_image_pixels,
                message.limits.max_batch,
                message.limits.max_concurrency,
                message.limits.max_message_bytes,
            ),
            message.runner,
        )
