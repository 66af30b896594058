"""Streams of both clients: each face answered once, whatever breaks, and nothing left behind."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.service.flaky_server import (
    IN_FLIGHT,
    MAX_MESSAGE_BYTES,
    Break,
    Flaky,
    flaky,
)

from wstar.async_client import AsyncClient
from wstar.client import Client
from wstar.errors import (
    DeadlineExceeded,
    ImageError,
    InvalidInput,
    LimitExceeded,
    Overloaded,
    WstarError,
)
from wstar.streams import READ_AHEAD, StreamItem

Items = Callable[..., list[StreamItem]]
CANCELLED, UNAVAILABLE = grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def server() -> Iterator[Flaky]:
    with flaky() as served:
        yield served


def threads() -> set[threading.Thread]:
    """All threads but the one that grpc.aio keeps for a process."""
    return {thread for thread in threading.enumerate() if "_poll_wrapper" not in thread.name}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    before = threads()
    yield
    assert not any(thread.name == "wstar-stream" for thread in threads())
    deadline = time.monotonic() + 5
    # gRPC's own threads end a moment after a channel is closed.
    while threads() - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads() - before


async def nothing_left() -> None:
    """No task but this one; gRPC takes a moment to hear that a call has ended."""
    async with asyncio.timeout(5):
        while asyncio.all_tasks() != {asyncio.current_task()}:
            await asyncio.sleep(0.01)


def items(target: str, faces: Iterable[Any], *, timeout_s: float = 20.0) -> list[StreamItem]:
    with Client(target, timeout_s=timeout_s) as client:
        return list(client.embed_stream(faces))


def async_items(target: str, faces: Iterable[Any], *, timeout_s: float = 20.0) -> list[StreamItem]:
    async def scenario() -> list[StreamItem]:
        async with AsyncClient(target, timeout_s=timeout_s) as client:
            found = [item async for item in client.embed_stream(faces)]
        await nothing_left()
        return found

    return asyncio.run(scenario())


BOTH = pytest.mark.parametrize("items_of", [items, async_items])


def number(item: StreamItem) -> int:
    """What the server saw in a face: its length."""
    assert item.embedding is not None
    return int(item.embedding.code.values[0, 0])


@BOTH
def test_each_face_is_answered_once_as_it_is_done(server: Flaky, items_of: Items) -> None:
    found = items_of(server.target, [bytes(size) for size in range(10, 31)])
    assert sorted(item.id for item in found) == list(range(21))
    assert all(number(item) == item.id + 10 for item in found)
    # The server answers pairs, the second first; the last of an odd number at the end.
    assert [item.id for item in found[:4]] == [1, 0, 3, 2]
    assert found[-1].id == 20
    assert {item.timings.total_ms for item in found} == {2.0}
    assert len(server.streams) == 1


@BOTH
def test_no_faces_no_items(server: Flaky, items_of: Items) -> None:
    assert items_of(server.target, []) == []


@BOTH
def test_ids_are_the_caller_s_and_may_repeat(server: Flaky, items_of: Items) -> None:
    named = [("a", b"1"), ("a", b"12"), (None, b"123"), (["no key"], b"1234")]
    found = items_of(server.target, named)
    told = sorted((number(item), item.id) for item in found)
    assert told == [(len(face), name) for name, face in named]


@BOTH
def test_a_face_that_fails_is_an_item_and_the_stream_goes_on(
    server: Flaky, items_of: Items, tmp_path: Path
) -> None:
    path = tmp_path / "face"
    path.write_bytes(b"12345")
    missing = tmp_path / "missing.png"
    large = bytes(MAX_MESSAGE_BYTES)
    server.refused = {
        b"bad": ImageError("face.picture.data", b"bad", "a picture"),
        b"full": Overloaded("the queue", 0.5),
    }
    found = items_of(server.target, [path, missing, b"bad", tmp_path, b"full", large, b"1234"])
    by_id = {item.id: item for item in found}
    assert sorted(by_id) == list(range(7))
    assert (number(by_id[0]), number(by_id[6])) == (5, 4)
    failed: dict[int, Any] = {place: by_id[place].error for place in (1, 2, 3, 4, 5)}
    assert all(by_id[place].embedding is None for place in failed)
    for place, name in ((1, missing), (3, tmp_path)):
        assert type(failed[place]) is InvalidInput
        assert failed[place].field == str(name)
    assert type(failed[2]) is ImageError
    assert (failed[2].field, vars(failed[2])["request_id"]) == ("face.picture.data", "request-1")
    assert type(failed[4]) is Overloaded
    assert failed[4].retry_after_s == 0.5
    # It would have ended the stream.
    assert type(failed[5]) is LimitExceeded
    assert (failed[5].field, failed[5].limit) == ("face", MAX_MESSAGE_BYTES)
    assert len(server.streams) == 1


@BOTH
def test_a_broken_stream_goes_on_where_it_was(server: Flaky, items_of: Items) -> None:
    server.breaks = [Break(0), Break(3), Break(5), Break(1)]
    found = items_of(server.target, [bytes(size) for size in range(40)])
    assert sorted(item.id for item in found) == list(range(40))
    assert all(number(item) == item.id for item in found)
    assert len(server.streams) == 5
    # Each stream begins with what the one before left without an answer.
    answered = {item.id for item in found[:3]}
    assert answered.isdisjoint(server.streams[2])
    assert set(range(min(IN_FLIGHT, 3))) - answered <= set(server.streams[2])


@BOTH
def test_a_server_that_restarts_loses_no_face(items_of: Items) -> None:
    with flaky() as first:
        target = first.target
        stop = threading.Event()
        restarted = threading.Event()

        def restart() -> None:
            with flaky(target):
                restarted.set()
                stop.wait(30)

        again = threading.Thread(target=restart)

        def faces() -> Iterator[bytes]:
            for size in range(30):
                if size == 15:
                    first.kill()
                    again.start()
                    restarted.wait(10)
                yield bytes(size)

        try:
            found = items_of(target, faces())
        finally:
            stop.set()
            again.join()
    assert sorted(item.id for item in found) == list(range(30))
    assert all(number(item) == item.id for item in found)


@BOTH
@pytest.mark.parametrize("status", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL])
def test_a_stream_that_would_break_again_is_given_up(
    server: Flaky, items_of: Items, status: grpc.StatusCode
) -> None:
    server.breaks = [Break(5, status)]
    with pytest.raises(WstarError, match="broken on purpose"):
        # All are sent when it breaks: grpc.aio may lose the status while it still writes.
        items_of(server.target, [b"1"] * 6)
    assert len(server.streams) == 1


@BOTH
def test_a_silent_server_passes_the_deadline(server: Flaky, items_of: Items) -> None:
    server.mute.set()
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="0.3 s"):
        items_of(server.target, [b"1"] * 3, timeout_s=0.3)
    assert time.monotonic() - started < 3
    assert server.ended.wait(5)


@BOTH
def test_a_failing_source_ends_the_stream(server: Flaky, items_of: Items) -> None:
    def faces() -> Iterator[bytes]:
        # More than may be taken before the first answer.
        yield from [b"1"] * 50
        raise ZeroDivisionError("of the caller")

    with pytest.raises(ZeroDivisionError, match="of the caller"):
        items_of(server.target, faces())
    assert server.ended.wait(5)


def test_an_endless_source_is_read_as_answers_come_and_left_when_closed(server: Flaky) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for taken in itertools.count(1):  # noqa: B007
            yield b"1"

    with Client(server.target) as client:
        stream = client.embed_stream(endless())
        assert taken == 0
        with closing(stream):
            for count, _ in enumerate(itertools.islice(stream, 200), start=1):
                assert taken - count < IN_FLIGHT + READ_AHEAD
        assert server.ended.wait(5)


def test_an_endless_source_of_an_async_client(server: Flaky) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        for taken in itertools.count(1):  # noqa: B007
            yield b"1"

    async def scenario() -> None:
        count = 0
        async with AsyncClient(server.target) as client:
            async with aclosing(client.embed_stream(endless())) as stream:
                async for _ in stream:
                    count += 1
                    # One more waits for room.
                    assert taken - count <= IN_FLIGHT + READ_AHEAD
                    if count == 200:
                        break
            await nothing_left()

    asyncio.run(scenario())
    assert server.ended.wait(5)


def test_a_cancelled_task_cancels_its_stream(server: Flaky) -> None:
    server.mute.set()

    async def scenario() -> None:
        async with AsyncClient(server.target) as client:

            async def take() -> None:
                async for _ in client.embed_stream([b"1"] * 9):
                    pass

            taking = asyncio.create_task(take())
            while not (server.streams and server.streams[0]):
                await asyncio.sleep(0.01)
            taking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await taking
            await nothing_left()

    asyncio.run(scenario())
    assert server.ended.wait(5)


def test_answers_do_not_wait_for_the_next_face(server: Flaky) -> None:
    async def scenario() -> list[int]:
        answered = asyncio.Semaphore(0)

        async def faces() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"1"
                yield b"1"
                # The caller needs both answers to make the next face.
                await answered.acquire()
                await answered.acquire()

        found = []
        async with AsyncClient(server.target, timeout_s=20) as client:
            async for item in client.embed_stream(faces()):
                found.append(item.id)
                answered.release()
        return found

    assert asyncio.run(scenario()) == [1, 0, 3, 2, 5, 4]


def test_options_are_those_of_embed_and_checked_at_once(server: Flaky) -> None:
    with Client(server.target, token="a-token") as client:
        for options in ({"space": "W_STAR"}, {"dtype": "f64"}):
            with pytest.raises(InvalidInput):
                client.embed_stream([b"1"], **options)  # type: ignore[arg-type]
        list(client.embed_stream([b"1"]))
    assert server.metadata[0]["authorization"] == "Bearer a-token"
    with pytest.raises(InvalidInput, match="closed"):
        client.embed_stream([b"1"])


def test_a_client_closed_under_a_stream_ends_it(server: Flaky) -> None:
    with Client(server.target) as client:
        stream = client.embed_stream([b"1"] * 50)
        next(stream)
        client.close()
        with pytest.raises(WstarError):
            list(stream)

    async def scenario() -> None:
        async with AsyncClient(server.target) as client:
            with pytest.raises(InvalidInput, match="closed"):
                async for _ in client.embed_stream([b"1"] * 50):
                    await client.close()

    asyncio.run(scenario())
