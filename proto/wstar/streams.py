"""Faces in a stream: what was asked, what was answered, and what to ask again when it breaks.

No gRPC here: `streams_sync` and `streams_async` carry these messages.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

from wstar import checks, errors
from wstar.errors import (
    DeadlineExceeded,
    InvalidInput,
    LimitExceeded,
    Overloaded,
    RunnerUnavailable,
    WstarError,
)
from wstar.faces import Face, face_message
from wstar.graphs import Space
from wstar.info import Limits
from wstar.operations import Dtype
from wstar.remote import reason_of
from wstar.replies import Embedding, Timings
from wstar.v1 import wstar_pb2 as pb

ATTEMPTS = 5
# 0.25 s, then three times as long each time: about 10 s in all, enough for a restart.
FIRST_PAUSE_S = 0.25
PAUSE_FACTOR = 3.0
# Faces read and sent beyond those the server works on, so that it never waits for a file.
READ_AHEAD = 4

# A face, or one with what the caller calls it.
Entry = Face | tuple[Any, Face]

_KINDS = {
    reason_of(kind): kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, WstarError)
}


@dataclass(frozen=True, eq=False)
class StreamItem:
    """What became of one face of a stream: an embedding, or an error.

    id: the caller's, or the place of the face in what was given, from 0.
    embedding: the codes of the face; None if it failed.
    error: why there are none; None if there are.
    timings: where the time of this face went inside the server.
    """

    id: Any
    embedding: Embedding | None
    error: WstarError | None
    timings: Timings


class Ledger:
    """The faces sent and not answered yet: each is answered once, on whatever stream.

    space, dtype, include_w_plus, include_scores: as of `Client.embed`.

    Raises InvalidInput for an option that is none.
    """

    def __init__(
        self, *, space: Space, dtype: Dtype, include_w_plus: bool, include_scores: bool
    ) -> None:
        self._options = pb.EmbedStreamRequest(
            space=checks.space_number(space),
            dtype=checks.dtype_number(dtype),
            include_w_plus=include_w_plus,
            include_scores=include_scores,
        )
        # The caller's id and the request, by our own ids: the caller's may repeat.
        self._owed: dict[str, tuple[Any, pb.EmbedStreamRequest]] = {}
        self._taken = 0
        self._failures = 0
        self._silent_since = time.monotonic()

    @property
    def owed(self) -> list[pb.EmbedStreamRequest]:
        """Requests without an answer, in the order they were taken in."""
        return [request for _, request in self._owed.values()]

    def __len__(self) -> int:
        """Number of requests without an answer."""
        return len(self._owed)

    @property
    def silent_s(self) -> float:
        """How long, in seconds, answers are owed and none has come."""
        return time.monotonic() - self._silent_since if self._owed else 0.0

    def ask(
        self, entry: Entry, face: pb.Face | WstarError, limits: Limits
    ) -> pb.EmbedStreamRequest | StreamItem:
        """Enter one face, as `read` has it; an item with its error if it cannot be sent."""
        place, self._taken = self._taken, self._taken + 1
        name = entry[0] if isinstance(entry, tuple) else place
        if isinstance(face, WstarError):
            return StreamItem(name, None, face, Timings.of(()))
        request = pb.EmbedStreamRequest(id=str(place), face=face)
        request.MergeFrom(self._options)
        size_bytes, most_bytes = request.ByteSize(), limits.max_message_bytes
        if size_bytes > most_bytes:  # It would end the whole stream.
            error = LimitExceeded("face", size_bytes, most_bytes, "bytes")
            return StreamItem(name, None, error, Timings.of(()))
        if not self._owed:
            self._silent_since = time.monotonic()
        self._owed[request.id] = name, request
        return request

    def answer(self, reply: pb.EmbedStreamResponse) -> StreamItem | None:
        """Strike out a face; None for an answer that was given already."""
        if reply.id not in self._owed:
            return None
        name, _ = self._owed.pop(reply.id)
        self._failures = 0
        self._silent_since = time.monotonic()
        timings = Timings.of([reply.timings])
        if reply.WhichOneof("outcome") == "embedding":
            return StreamItem(name, Embedding.from_message(reply.embedding), None, timings)
        return StreamItem(name, None, error_of_item(reply.error), timings)

    def pause_s(self, error: WstarError) -> float:
        """How long to wait before another stream; raises `error` if there should be none.

        There is none after five in a row without an answer, nor where it would end alike.
        """
        self._failures += 1
        if self._failures == ATTEMPTS or not isinstance(error, RunnerUnavailable | Overloaded):
            raise error
        pause_s = FIRST_PAUSE_S * PAUSE_FACTOR ** (self._failures - 1) * random.uniform(0.8, 1.2)
        return max(pause_s, getattr(error, "retry_after_s", 0.0))


def read(entry: Entry) -> pb.Face | WstarError:
    """Read one face, which may block; its error if that fails."""
    try:
        return face_message(entry[1] if isinstance(entry, tuple) else entry)
    except OSError as error:
        name = str(error.filename or "face")
        return InvalidInput(name, error.strerror or str(error), "a file that can be read")


def ended_early() -> RunnerUnavailable:
    """Describe a stream that ended with OK before every face had its answer."""
    return RunnerUnavailable("the stream ended before every face was answered")


def silent(timeout_s: float) -> DeadlineExceeded:
    """Describe a server that answers nothing any more."""
    return DeadlineExceeded(f"no answer of the stream for {timeout_s:g} s")


def window(limits: Limits) -> int:
    """How many faces may be without an answer at once."""
    return max(1, limits.max_stream_in_flight) + READ_AHEAD


def error_of_item(message: pb.ItemError) -> WstarError:
    """Return the exception that the error of one face stands for, as a failed call would."""
    kind = _KINDS.get(message.reason, WstarError)
    # The message is already composed, so the constructor, which would compose another, is left out.
    error = kind.__new__(kind, message.message)
    error.__dict__.update(message.metadata)
    if message.field:
        error.__dict__["field"] = message.field
    if message.HasField("retry_delay"):
        error.__dict__["retry_after_s"] = message.retry_delay.ToTimedelta().total_seconds()
    return error
