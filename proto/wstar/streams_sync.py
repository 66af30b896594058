"""A stream of faces for threads: faces are taken from the caller's iterable in the caller's thread.

Two threads carry each stream, gRPC's own for requests and one for replies; both end with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import grpc

from wstar.errors import WstarError
from wstar.info import Limits
from wstar.streams import Entry, Ledger, StreamItem, ended_early, read, silent, window
from wstar.v1 import wstar_pb2 as pb

Open = Callable[[Iterator[pb.EmbedStreamRequest]], Any]
Told = Callable[[grpc.RpcError], WstarError]

# Answered as it is, nothing is lost with a stream that takes longer to say OK.
_END_S = 1.0


class _Stream:
    """One stream of requests and replies, begun with `requests`."""

    def __init__(self, begin: Open, requests: list[pb.EmbedStreamRequest], told: Told) -> None:
        self._told = told
        self._requests: SimpleQueue[pb.EmbedStreamRequest | None] = SimpleQueue()
        self._replies: SimpleQueue[pb.EmbedStreamResponse | grpc.RpcError | None] = SimpleQueue()
        for request in requests:
            self.send(request)
        self._call = begin(iter(self._requests.get, None))
        self._reader = Thread(target=self._read, name="wstar-stream", daemon=True)
        self._reader.start()

    def send(self, request: pb.EmbedStreamRequest | None) -> None:
        """Send one more face; None after the last."""
        self._requests.put(request)

    def reply(self, timeout_s: float) -> pb.EmbedStreamResponse | WstarError | None:
        """Return the next reply, an error at the end, None if there is nothing in time."""
        try:
            found = self._replies.get(timeout=timeout_s)
        except Empty:
            return None
        if found is None:
            return ended_early()
        return self._told(found) if isinstance(found, grpc.RpcError) else found

    def finish(self) -> None:
        """Let the server end the stream."""
        self._reader.join(_END_S)

    def cancel(self) -> None:
        """End the stream and its threads, whatever state it is in."""
        self.send(None)
        self._call.cancel()
        self._reader.join()

    def _read(self) -> None:
        try:
            for reply in self._call:
                self._replies.put(reply)
            self._replies.put(None)
        except grpc.RpcError as error:
            self._replies.put(error)


def embed_stream(
    begin: Open,
    faces: Iterable[Entry],
    ledger: Ledger,
    limits: Callable[[], Limits],
    *,
    timeout_s: float,
    told: Told,
) -> Generator[StreamItem, None, None]:
    """Yield an item per face, in the order of completion, over as many streams as it takes.

    begin: starts a stream with an iterator of requests and returns its replies.
    timeout_s: longest silence of the server while answers are owed.
    told: what a failed call is raised as.
    """
    bounds = limits()
    source: Iterator[Entry] | None = iter(faces)
    while source is not None or len(ledger):
        stream = _Stream(begin, ledger.owed, told)
        pause_s = 0.0
        try:
            if source is None:
                stream.send(None)
            while source is not None or len(ledger):
                full = source is None or len(ledger) >= window(bounds)
                if source is not None and not full:
                    entry = next(source, None)
                    if entry is None:
                        source = None
                        stream.send(None)
                        continue
                    asked = ledger.ask(entry, read(entry), bounds)
                    if isinstance(asked, StreamItem):
                        yield asked
                        continue
                    stream.send(asked)
                reply = stream.reply(timeout_s if full else 0.0)
                if isinstance(reply, WstarError):
                    pause_s = ledger.pause_s(reply)
                    break
                if reply is not None:
                    item = ledger.answer(reply)
                    if item is not None:
                        yield item
                elif full:
                    raise silent(timeout_s)
            else:
                stream.finish()
        finally:
            stream.cancel()
        time.sleep(pause_s)
