"""Shared memory in which pictures pass between this process and a Triton on the same host."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import math
import mmap
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wstar.errors import WstarError

# Where shm_open, by which Triton opens a region, finds its names on Linux.
_FOLDER = Path("/dev/shm")
# Below it a region costs more than it saves.
LEAST_BYTES = 64 * 2**10
_MOST_BYTES = 64 * 2**20
# Triton keeps a region until the request that uses it has ended there.
_FREE_EVERY_S = 0.2
_FREE_TRIES = 300
_CLOSE_S = 2.0
_LOG = logging.getLogger("wstar.triton")


def same_host(host: str) -> bool:
    """Whether an address is one of this host, where Triton may see the same shared memory."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Registry(Protocol):
    """Triton's list of regions."""

    async def register(self, name: str, size: int) -> None:
        """Let Triton map the region `name` of `size` bytes; raises WstarError if it cannot."""

    async def unregister(self, name: str) -> bool:
        """Let Triton unmap it; False while a request uses it."""


@dataclass(frozen=True, eq=False)
class Region:
    """Bytes that Triton has mapped under `name`."""

    name: str
    memory: mmap.mmap

    def view(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Its first bytes as an array: no copy."""
        return np.frombuffer(self.memory, np.uint8, math.prod(shape)).reshape(shape)


class Regions:
    """Lends regions, each to one request at a time, and keeps them for the next.

    A name lives in the file system only until Triton has opened it, so that no end of this
    process can leave one behind. A region whose request failed or was cancelled is not lent
    again: Triton may still be writing into it.
    """

    def __init__(self, registry: Registry, *, usable: bool) -> None:
        self._registry = registry
        self._usable = usable
        self._bytes = 0
        self._idle: dict[int, list[Region]] = {}
        self._lent = 0
        self._returned = asyncio.Event()
        self._returned.set()
        self._freeing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lent(self, size: int) -> AsyncIterator[Region | None]:
        """Lend a region of at least `size` bytes; None where there is none to be had."""
        region = await self._take(size)
        self._lent += 1
        self._returned.clear()
        try:
            yield region
        except BaseException:
            if region is not None:
                self._bytes -= len(region.memory)
                self._free(region)
            raise
        else:
            if region is not None:
                self._idle.setdefault(len(region.memory), []).append(region)
        finally:
            self._lent -= 1
            if self._lent == 0:
                self._returned.set()

    async def close(self) -> None:
        """Wait for the regions that are lent, and let Triton unmap all."""
        self._usable = False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._returned.wait(), _CLOSE_S)
        for region in [region for idle in self._idle.values() for region in idle]:
            self._free(region)
        self._idle.clear()
        if self._freeing:
            await asyncio.wait(self._freeing, timeout=_CLOSE_S)
        for task in self._freeing:
            task.cancel()

    async def _take(self, size: int) -> Region | None:
        # Powers of two, so that batches of several sizes share a few regions.
        size = 1 << (size - 1).bit_length()
        if not self._usable or size < LEAST_BYTES:
            return None
        if self._idle.get(size):
            return self._idle[size].pop()
        if self._bytes + size > _MOST_BYTES:
            return None
        self._bytes += size
        try:
            return await self._made(size)
        except BaseException as error:
            self._bytes -= size
            if not isinstance(error, OSError | WstarError):
                raise
            self._usable = False
            _LOG.info("pictures go to Triton over gRPC, not through shared memory: %s", error)
            return None

    async def _made(self, size: int) -> Region:
        name = f"wstar-{secrets.token_hex(8)}"
        path = _FOLDER / name
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            # Reserved now: a full file system would end Triton or this process later.
            os.posix_fallocate(file, 0, size)
            region = Region(name, mmap.mmap(file, size))
            try:
                await self._registry.register(name, size)
            except BaseException:
                # It may have arrived all the same.
                self._free(region)
                raise
            return region
        finally:
            os.close(file)
            path.unlink()

    def _free(self, region: Region) -> None:
        task = asyncio.ensure_future(self._unregistered(region))
        self._freeing.add(task)
        task.add_done_callback(self._freeing.discard)

    async def _unregistered(self, region: Region) -> None:
        for _ in range(_FREE_TRIES):
            if await self._registry.unregister(region.name):
                return
            await asyncio.sleep(_FREE_EVERY_S)
        _LOG.warning("Triton does not let go of shared memory %s", region.name)
