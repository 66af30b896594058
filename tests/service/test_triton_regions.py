"""Shared memory for pictures: lent to one request at a time, given back whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from wstar.errors import RunnerUnavailable
from wstar_service.triton_regions import LEAST_BYTES, Regions

MEGABYTE = 2**20


@dataclass
class Registry:
    """Triton's list of regions: keeps one for as many tries as `in_use` says."""

    in_use: int = 0
    refuses: bool = False
    names: set[str] = field(default_factory=set)
    sizes: list[int] = field(default_factory=list)

    async def register(self, name: str, size: int) -> None:
        """Map the region, which must be there."""
        if self.refuses:
            raise RunnerUnavailable("no such file here")
        assert (Path("/dev/shm") / name).stat().st_size == size
        self.names.add(name)
        self.sizes.append(size)

    async def unregister(self, name: str) -> bool:
        """Unmap the region, unless a request uses it."""
        self.in_use -= 1
        if self.in_use >= 0:
            return False
        self.names.discard(name)
        return True


def run(scenario: Callable[[Regions], Awaitable[None]], registry: Registry) -> None:
    async def whole() -> None:
        regions = Regions(registry, usable=True)
        try:
            await scenario(regions)
        finally:
            await regions.close()

    asyncio.run(whole())
    assert not registry.names
    assert not list(Path("/dev/shm").glob("wstar-????????????????"))


def test_a_region_is_used_again_and_never_by_two() -> None:
    registry = Registry()

    async def scenario(regions: Regions) -> None:
        async with regions.lent(MEGABYTE) as first, regions.lent(MEGABYTE) as second:
            assert first is not None
            assert second is not None
            assert first.name != second.name
            used = {first.name, second.name}
        async with regions.lent(MEGABYTE - 1) as third:
            assert third is not None
            assert third.name in used
            assert len(third.memory) == MEGABYTE

    run(scenario, registry)
    assert registry.sizes == [MEGABYTE, MEGABYTE]


@pytest.mark.parametrize("error", [RunnerUnavailable("failed"), asyncio.CancelledError()])
def test_a_region_of_a_failed_request_is_not_lent_again(error: BaseException) -> None:
    # Triton lets go of it at the second try only.
    registry = Registry(in_use=1)

    async def scenario(regions: Regions) -> None:
        with pytest.raises(type(error)):
            async with regions.lent(MEGABYTE):
                raise error
        failed = set(registry.names)
        async with regions.lent(MEGABYTE) as second:
            assert second is not None
            assert second.name not in failed

    run(scenario, registry)


def test_small_pictures_and_too_many_of_them_go_without() -> None:
    async def scenario(regions: Regions) -> None:
        async with (
            regions.lent(LEAST_BYTES // 2) as small,
            regions.lent(32 * MEGABYTE) as first,
            regions.lent(32 * MEGABYTE) as second,
            regions.lent(LEAST_BYTES) as third,
        ):
            assert first is not None
            assert second is not None
            assert small is third is None

    run(scenario, Registry())


def test_a_triton_that_cannot_map_it_is_asked_once() -> None:
    registry = Registry(refuses=True)

    async def scenario(regions: Regions) -> None:
        for _ in range(2):
            async with regions.lent(MEGABYTE) as region:
                assert region is None
            registry.refuses = False

    run(scenario, registry)
    assert registry.sizes == []


def test_closing_waits_for_the_request_under_way() -> None:
    registry = Registry()

    async def scenario(regions: Regions) -> None:
        async def request() -> None:
            async with regions.lent(MEGABYTE):
                await asyncio.sleep(0.1)

        under_way = asyncio.ensure_future(request())
        await asyncio.sleep(0.02)
        await regions.close()
        assert under_way.done()
        assert not registry.names

    run(scenario, registry)
