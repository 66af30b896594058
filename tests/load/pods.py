"""Servers kept as the manifest says, by what a kubelet and an endpoints controller do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.load.balancer import Balancer, free_address
from tests.load.lifecycle import Lifecycle, Probe
from tests.service.triton_process import DEMO

# How long it takes in a cluster until balancers know of a change, while pods go on.
PROPAGATION_S = 1.0
# What the container of a manifest has and this machine has not: files, Triton, ports for everyone.
_ELSEWHERE = ("/", "0.0.0.0:", "[::]:", "triton")


@dataclass(eq=False)
class Pod:
    """One server: its process, where it listens, and what its probes found last."""

    name: str
    process: subprocess.Popen[bytes]
    address: str
    pages: str
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


@dataclass
class Pods:
    """All servers; `faults` says what should not have happened, the rest is measured."""

    lifecycle: Lifecycle
    balancer: Balancer
    folder: Path
    running: list[Pod] = field(default_factory=list)
    started: int = 0
    start_s: list[float] = field(default_factory=list)
    stop_s: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    async def start(self) -> None:
        """Start one more; return when it has been ready for as long as it must be."""
        began = time.monotonic()
        pod = await self._started()
        startup = self.lifecycle.startup
        await asyncio.sleep(startup.delay_s)
        for _ in range(startup.failures):
            if await asyncio.to_thread(startup.passes, pod.pages):
                break
            await asyncio.sleep(startup.period_s)
        else:
            raise RuntimeError(f"{pod.name} did not start in time")
        pod.tasks = [
            asyncio.create_task(self._probed(self.lifecycle.readiness, pod, self._set_ready)),
            asyncio.create_task(self._probed(self.lifecycle.liveness, pod, self._set_alive)),
        ]
        await pod.ready.wait()
        self.start_s.append(time.monotonic() - began)
        await asyncio.sleep(self.lifecycle.settled_s)

    async def replace_oldest(self) -> None:
        """Start one more, then delete the oldest."""
        await self.start()
        await self.delete(self.running[0])

    async def delete(self, pod: Pod) -> None:
        """Delete one as a cluster does: it is told to stop while balancers still learn of it."""
        began = time.monotonic()
        self.running.remove(pod)
        for task in pod.tasks:
            task.cancel()
        balancers = asyncio.create_task(self._balance())
        await asyncio.sleep(self.lifecycle.pre_stop_s)
        pod.process.terminate()
        left_s = self.lifecycle.termination_s - (time.monotonic() - began)
        try:
            code = await asyncio.to_thread(pod.process.wait, left_s)
        except subprocess.TimeoutExpired:
            pod.process.kill()
            code = await asyncio.to_thread(pod.process.wait)
        if code:
            self.faults.append(f"{pod.name} ended with {code}")
        self.stop_s.append(time.monotonic() - began)
        await balancers

    def close(self) -> None:
        """Kill those that run, and look for tracebacks in the logs of all."""
        for pod in self.running:
            pod.process.kill()
            pod.process.wait()
        for path in sorted(self.folder.glob("wstar-*.log")):
            text = path.read_text(encoding="utf-8")
            if "Traceback" in text:
                self.faults.append(f"{path.name}: {text[text.index('Traceback') :][:1500]}")

    async def _started(self) -> Pod:
        self.started += 1
        name = f"wstar-{self.started}"
        told = {
            key: value
            for key, value in self.lifecycle.environment.items()
            if not value.startswith(_ELSEWHERE)
        }
        pages = free_address()
        command = [sys.executable, "-m", "wstar_service", "--repository", str(DEMO)]
        command += ["--listen", "127.0.0.1:0", "--metrics", pages, "--threads", "1"]
        path = self.folder / f"{name}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                command,
                env={**os.environ, **told},
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert process.stdout is not None
        with process.stdout as told_address:
            address = (await asyncio.to_thread(told_address.readline)).decode().strip()
        pod = Pod(name, process, address, pages)
        self.running.append(pod)
        if not address:
            raise RuntimeError(f"no server:\n{path.read_text()[-2000:]}")
        return pod

    async def _probed(self, probe: Probe, pod: Pod, told: Callable[[Pod, bool], None]) -> None:
        await asyncio.sleep(probe.delay_s)
        good = bad = 0
        while True:
            if await asyncio.to_thread(probe.passes, pod.pages):
                good, bad = good + 1, 0
                if good == probe.successes:
                    told(pod, True)
            else:
                good, bad = 0, bad + 1
                if bad == probe.failures:
                    told(pod, False)
            await asyncio.sleep(probe.period_s)

    def _set_ready(self, pod: Pod, ready: bool) -> None:
        if ready:
            pod.ready.set()
        else:
            pod.ready.clear()
            self.faults.append(f"{pod.name} was not ready under load")
        pod.tasks.append(asyncio.create_task(self._balance()))

    def _set_alive(self, pod: Pod, alive: bool) -> None:
        if not alive:
            self.faults.append(f"{pod.name} would have been restarted")

    async def _balance(self) -> None:
        await asyncio.sleep(PROPAGATION_S)
        self.balancer.balance([pod.address for pod in self.running if pod.ready.is_set()])
