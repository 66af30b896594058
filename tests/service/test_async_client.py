"""The asynchronous client against the real server in the same event loop, over the linear world."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from wstar.async_client import AsyncClient
from wstar.client import Client
from wstar.errors import (
    DeadlineExceeded,
    ImageError,
    InvalidInput,
    RunnerUnavailable,
    WstarError,
)
from wstar.graphs import Space

if TYPE_CHECKING:
    from tests.service.conftest import Running, World

# float32 rounding of numbers of size 1 to 10.
CLOSE = 2e-6


@asynccontextmanager
async def connected(
    world: World,
    *,
    timeout_s: float = 20.0,
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[AsyncClient, Running]]:
    async with world.serving(**settings) as running:
        async with AsyncClient(str(running.address), timeout_s=timeout_s) as client:
            yield client, running


def answer(world: World, call: Callable[[AsyncClient], Awaitable[Any]], **settings: Any) -> Any:  # noqa: ANN401
    async def scenario() -> Any:  # noqa: ANN401
        async with connected(world, **settings) as (client, _):
            return await call(client)

    return asyncio.run(scenario())


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def methods(kind: type) -> dict[str, list[tuple[str, object]]]:
        return {
            name: [(p.name, p.default) for p in inspect.signature(found).parameters.values()]
            for name, found in vars(kind).items()
            if callable(found) and (name == "__init__" or not name.startswith("_"))
        }

    assert methods(AsyncClient) == methods(Client)


def test_pictures_become_codes(world: World, tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    path.write_bytes(world.picture(102))
    found = answer(world, lambda client: client.embed([world.picture(51), path]))
    expected = np.stack([world.values(byte, Space.W_STAR) for byte in (51, 102)])
    np.testing.assert_allclose(found.codes, expected, atol=CLOSE)
    # The runner of this world records no graphs.
    assert "decode" in found.timings.stage_ms


def test_many_calls_at_once(world: World) -> None:
    async def embed_all(client: AsyncClient) -> list[float]:
        calls = (client.embed(world.picture(byte)) for byte in range(40))
        return [float(found.codes[0, 0, 0]) for found in await asyncio.gather(*calls)]

    found = answer(world, embed_all, max_queue=64)
    np.testing.assert_allclose(found, 2 * np.arange(40) / 255, atol=CLOSE)


def test_distances_classifications_and_edits(world: World) -> None:
    async def ask(client: AsyncClient) -> tuple[Any, Any, Any, Any]:
        faces = [world.picture(byte) for byte in range(70)]
        return (
            await client.distance(faces[0], faces[51]),
            await client.distance(faces, faces, mode="matrix"),
            await client.classify(faces[51], attributes=["Bald"]),
            await client.edit(faces[51], {"Smiling": 0.9}),
        )

    pair, matrix, scores, edit = answer(world, ask, max_batch=64)
    # 192 of 2,048 numbers differ by 2 x 51 / 255.
    expected = 192 / 2048 * 0.4**2
    assert pair.squared_distance[0] == pytest.approx(expected, rel=1e-5)
    assert matrix.squared_distance[0, 51] == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(pair.percentile).all() and np.isnan(matrix.percentile).all()
    assert scores[0]["Bald"] == pytest.approx(1 / (1 + np.exp(1 - 4 * 0.2)), abs=1e-6)
    assert edit.results[0].scores["Smiling"] == pytest.approx(0.9, abs=1e-5)


def test_a_stream_of_a_thousand_faces(world: World) -> None:
    async def embed_all(client: AsyncClient) -> dict[int, float]:
        faces = (world.picture(place % 256) for place in range(1000))
        found = {}
        async for item in client.embed_stream(faces):
            assert item.embedding is not None and item.id not in found
            found[item.id] = float(item.embedding.code.values[0, 0])
        return found

    found = answer(world, embed_all)
    values = [found[place] for place in range(1000)]
    np.testing.assert_allclose(values, 2 * (np.arange(1000) % 256) / 255, atol=CLOSE)


def test_errors_tell_the_caller_s_places(world: World) -> None:
    faces = [world.picture()] * 5 + [b"no picture"]
    with pytest.raises(ImageError, match=r"^faces\[5\]\.picture\.data"):
        answer(world, lambda client: client.embed(faces), max_batch=4)
    with pytest.raises(FileNotFoundError):
        answer(world, lambda client: client.embed("missing.png"))
    with pytest.raises(InvalidInput, match="dtype"):
        answer(world, lambda client: client.embed(b"", dtype="f64"))  # type: ignore[arg-type]


def test_the_deadline_and_a_cancelled_task_end_the_work(world: World) -> None:
    async def scenario() -> None:
        async with connected(world, timeout_s=0.3) as (client, running):
            running.runner.gate.clear()
            with pytest.raises(DeadlineExceeded):
                await client.embed(world.picture())
        async with connected(world) as (client, running):
            running.runner.gate.clear()
            task = asyncio.create_task(client.embed(world.picture()))
            await running.runner.entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())


def test_calls_of_a_client_that_is_closed_end(world: World) -> None:
    async def scenario() -> None:
        async with connected(world) as (client, running):
            running.runner.gate.clear()

            async def stream() -> None:
                async for _ in client.embed_stream([world.picture()]):
                    pass

            calls: list[asyncio.Future[Any]] = [
                asyncio.ensure_future(client.embed(world.picture())) for _ in range(2)
            ]
            calls.append(asyncio.ensure_future(stream()))
            await running.runner.entered.wait()
            await asyncio.sleep(0.1)
            await client.close()
            for call in calls:
                with pytest.raises(InvalidInput, match="closed"):
                    await call

    asyncio.run(scenario())


def test_a_stream_survives_a_server_that_stops(world: World) -> None:
    """The second server listens where the first did; nobody is told."""

    async def scenario() -> set[int]:
        found: set[int] = set()
        async with connected(world) as (client, running):
            address = running.address
            served = asyncio.Event()
            done = asyncio.Event()

            async def replace() -> None:
                await running.server.stop()
                async with world.serving(listen=address):
                    served.set()
                    await done.wait()

            replacing = None
            async for item in client.embed_stream([world.picture()] * 200):
                assert item.embedding is not None and item.id not in found
                found.add(item.id)
                if len(found) == 50:
                    replacing = asyncio.create_task(replace())
            assert replacing is not None and served.is_set()
            done.set()
            await replacing
        return found

    assert asyncio.run(scenario()) == set(range(200))


def test_a_closed_client_says_so_and_one_never_used_closes() -> None:
    async def scenario() -> list[WstarError]:
        client = AsyncClient()
        async with client:
            pass
        raised: list[WstarError] = []
        for call in (client.info, lambda: client.embed(b"1"), lambda: client.edit(b"1")):
            with pytest.raises(InvalidInput, match="client: found 'closed'") as error:
                await call()
            raised.append(error.value)
        with pytest.raises(InvalidInput, match="closed"):
            client.embed_stream([])
        return raised

    assert len(asyncio.run(scenario())) == 3


def test_no_server_is_unavailable() -> None:
    async def scenario() -> None:
        async with AsyncClient("127.0.0.1:1", timeout_s=20) as client:
            await client.info()

    with pytest.raises(RunnerUnavailable, match="127.0.0.1:1"):
        asyncio.run(scenario())
