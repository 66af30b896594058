"""What a server says of itself: spaces, attributes, limits and versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from wstar.codes import space_of_number
from wstar.errors import InvalidInput
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
    max_queue: int
    max_concurrency_per_token: int
    max_stream_in_flight: int
    max_distances: int


@dataclass(frozen=True)
class SpaceSummary:
    """One served space: its id, measured figures and what its models are."""

    space: Space
    space_id: str
    evaluation: Mapping[str, float]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Info:
    """What is served; n is the rows of a code, resolution and encoder_side are in pixels.

    capabilities: which of embed, distance, classify and edit this server can do now.
    """

    version: str
    spaces: tuple[SpaceSummary, ...]
    attributes: tuple[str, ...]
    n: int
    resolution: int
    encoder_side: int
    limits: Limits
    runner: str
    capabilities: tuple[str, ...]

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
            Limits(*(getattr(message.limits, limit.name) for limit in fields(Limits))),
            message.runner,
            tuple(message.capabilities),
        )

    def space_id(self, space: Space) -> str:
        """Return the id of a served space; InvalidInput if it is not served."""
        for summary in self.spaces:
            if summary.space is space:
                return summary.space_id
        served = ", ".join(summary.space.value for summary in self.spaces)
        raise InvalidInput("space", space.value, f"one of {served}")
