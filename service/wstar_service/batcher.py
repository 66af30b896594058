"""Puts the work of concurrent callers together: one engine, one batch at a time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from wstar.errors import InvalidInput, RunnerUnavailable
from wstar_service.contract import joined, parts
from wstar_service.runner import Array, Observer
from wstar_service.stages import QUEUE, Stage, record

# How far the answer to a face in a batch may be from the answer to it alone: batches of another
# size sum in another order, which moves a value by some units in the last of float32's 7 digits
# (in standard deviations of the output), and a picture by one level where it tips a rounding.
SAME_OF_STD = 1e-5
SAME_LEVELS = 1

Execute = Callable[[str, Mapping[str, Array]], dict[str, Array]]


@dataclass(eq=False)
class _Entry:
    """What one caller waits for, and since when."""

    graphs: tuple[str, ...]
    arrays: Mapping[str, Array]
    faces: int
    answer: asyncio.Future[dict[str, Array]]
    since: float
    stages: list[Stage] = field(default_factory=list)


@dataclass(frozen=True)
class _Ran:
    """A batch that ended: its answers in order, or why it failed."""

    batch: Sequence[_Entry]
    answers: Sequence[dict[str, Array]]
    failure: Exception | None = None


class Batcher:
    """Queues work (graphs, arrays) before one thread that runs it.

    When the engine is free it takes the oldest entry, and with it, in the order of arrival, all
    of the same graphs that fit their largest batch. It takes them itself, so that it never waits
    for a busy event loop. Answers are views of the batch's outputs: no copy, but whoever keeps
    one keeps them all.

    execute: runs one batch, in the engine's thread.
    sizes: the largest batch of each graph.
    max_delay_s: how long an idle engine waits for more after the oldest entry's arrival.
    """

    def __init__(
        self,
        execute: Execute,
        sizes: Mapping[str, int],
        *,
        observer: Observer | None = None,
        max_delay_s: float = 0.0,
    ) -> None:
        self._execute = execute
        self._sizes = sizes
        self._observer = observer
        self._max_delay_s = max_delay_s
        self._engine = ThreadPoolExecutor(1, "graphs")
        # Held for moments only: over what both the event loop and the engine's thread change.
        self._lock = Lock()
        self._waiting: deque[_Entry] = deque()
        self._busy = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        # Of the engine's thread: from a first batch until it found none to start.
        self._shifts = 0
        self._at_rest = asyncio.Event()
        self._at_rest.set()

    async def run(self, graphs: Sequence[str], arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Run graphs on inputs (B, ...), with the work of others if they come together.

        Each further graph runs on the outputs of the one before, in the same visit to the engine,
        and the outputs of all are returned. More than the largest batch goes as parts that queue
        one after another, so that callers take turns. A cancelled caller's work leaves the queue;
        what has started goes on. If a batch of several callers fails, each is run once alone, so
        that only the guilty fails.

        Raises
        ------
        InvalidInput: inputs of several batch sizes.
        RunnerUnavailable: the batcher is closed; and whatever `execute` raises.
        """
        batches = {name: len(array) for name, array in arrays.items()}
        if len(set(batches.values())) != 1:
            raise InvalidInput("batch", batches, "the same for every input of a graph")
        size = self._size(graphs)
        return joined([await self._answered(tuple(graphs), p) for p in parts(arrays, size)])

    async def close(self) -> None:
        """Refuse new work and what waits, let the batch in progress finish, end the thread."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
        if self._timer is not None:
            self._timer.cancel()
        for entry in waiting:
            self._tell_waiting(-entry.faces)
            if not entry.answer.done():
                entry.answer.set_exception(_closed(entry.graphs))
        # The thread ends with its batch, also if this call is cancelled.
        self._engine.shutdown(wait=False)
        await self._at_rest.wait()
        self._engine.shutdown()

    async def _answered(
        self, graphs: tuple[str, ...], arrays: Mapping[str, Array]
    ) -> dict[str, Array]:
        faces = len(next(iter(arrays.values())))
        answer: asyncio.Future[dict[str, Array]] = asyncio.get_running_loop().create_future()
        entry = _Entry(graphs, arrays, faces, answer, time.monotonic())
        with self._lock:
            if self._closed:
                raise _closed(graphs)
            self._waiting.append(entry)
        self._tell_waiting(faces)
        self._start()
        try:
            return await answer
        except asyncio.CancelledError:
            self._leave(entry)
            raise
        finally:
            for stage in entry.stages:
                record(*stage)

    def _leave(self, entry: _Entry) -> None:
        """Take a cancelled entry out of the queue, unless it has started."""
        with self._lock:
            if entry not in self._waiting:
                return
            self._waiting.remove(entry)
        entry.stages.append(Stage(QUEUE, entry.since, time.monotonic()))
        self._tell_waiting(-entry.faces)

    def _start(self) -> None:
        """Let an idle engine start, now or when the oldest entry has waited for others."""
        with self._lock:
            if self._busy or not self._waiting:
                return
            due = self._waiting[0].since + self._max_delay_s
            batch = self._take()
            self._busy = bool(batch)
        loop = asyncio.get_running_loop()
        if batch:
            self._shifts += 1
            self._at_rest.clear()
            self._tell_waiting(-_faces(batch))
            self._engine.submit(self._work, loop, batch)
        elif self._timer is None:
            self._timer = loop.call_later(due - time.monotonic(), self._late)

    def _late(self) -> None:
        self._timer = None
        self._start()

    def _take(self) -> list[_Entry]:
        """Take the next batch out of the queue, if there is one to start; the lock is held."""
        # A cancelled entry is about to leave by itself.
        waiting = [entry for entry in self._waiting if not entry.answer.done()]
        if not waiting:
            return []
        first, size = waiting[0], self._size(waiting[0].graphs)
        batch, faces = [first], first.faces
        for entry in waiting[1:]:
            if entry.graphs == first.graphs:
                if faces + entry.faces > size:
                    # It goes first next time, before any that would fit.
                    faces = size
                if faces == size:
                    break
                batch.append(entry)
                faces += entry.faces
        if faces < size and time.monotonic() < first.since + self._max_delay_s:
            return []
        for entry in batch:
            self._waiting.remove(entry)
        return batch

    def _work(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Entry]) -> None:
        """Run batches, in the engine's thread, until there is none to start."""
        while batch:
            runs = [self._ran(batch)]
            if runs[0].failure is not None and len(batch) > 1:
                # Nobody is to hear of the fault of another one.
                runs = [self._ran([entry]) for entry in batch if not entry.answer.done()]
            # Before the answers: the event loop's work with them is not to be waited for.
            with self._lock:
                batch = self._take()
                self._busy = bool(batch)
            loop.call_soon_threadsafe(self._tell, runs, batch)

    def _ran(self, batch: Sequence[_Entry]) -> _Ran:
        found: dict[str, Array] = {}
        self._note(batch, QUEUE)
        try:
            arrays = _merged(batch)
            for graph in batch[0].graphs:
                try:
                    arrays = self._execute(graph, arrays)
                finally:
                    self._note(batch, graph)
                found |= arrays
            return _Ran(batch, _split(batch, found))
        except Exception as error:  # Whatever it is, it is the caller's to hear.
            return _Ran(batch, (), error)

    @staticmethod
    def _note(batch: Sequence[_Entry], stage: str) -> None:
        """Record a stage that began when the last one ended and has ended now."""
        ended = time.monotonic()
        for entry in batch:
            entry.stages.append(Stage(stage, entry.since, ended))
            entry.since = ended

    def _tell(self, runs: Sequence[_Ran], following: Sequence[_Entry]) -> None:
        """Answer, in the event loop, those whose batches have ended."""
        self._tell_waiting(-_faces(following))
        for ran in runs:
            if ran.failure is None and self._observer is not None:
                for graph in ran.batch[0].graphs:
                    self._observer.ran(graph, _faces(ran.batch))
            for i, entry in enumerate(ran.batch):
                if entry.answer.done():
                    continue
                if ran.failure is None:
                    entry.answer.set_result(ran.answers[i])
                else:
                    entry.answer.set_exception(ran.failure)
        if not following:
            self._shifts -= 1
            self._start()
            if self._shifts == 0:
                self._at_rest.set()

    def _size(self, graphs: Sequence[str]) -> int:
        return min(self._sizes[graph] for graph in graphs)

    def _tell_waiting(self, change: int) -> None:
        if self._observer is not None and change:
            self._observer.waiting(change)


def _faces(batch: Sequence[_Entry]) -> int:
    return sum(entry.faces for entry in batch)


def _merged(batch: Sequence[_Entry]) -> Mapping[str, Array]:
    if len(batch) == 1:
        return batch[0].arrays
    names = batch[0].arrays
    return {name: np.concatenate([entry.arrays[name] for entry in batch]) for name in names}


def _split(batch: Sequence[_Entry], found: dict[str, Array]) -> list[dict[str, Array]]:
    if len(batch) == 1:
        return [found]
    ends = np.cumsum([entry.faces for entry in batch])
    return [
        {name: array[end - entry.faces : end] for name, array in found.items()}
        for entry, end in zip(batch, ends, strict=True)
    ]


def _closed(graphs: Sequence[str]) -> RunnerUnavailable:
    return RunnerUnavailable(f"graph {graphs[0]!r} was not run: the engine is closed")
