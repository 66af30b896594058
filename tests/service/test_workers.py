"""`wstar-serve --workers 2`: one port, one page of metrics, one thing to start, kill and stop."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub
from wstar_service.metrics import Metrics
from wstar_service.pages import listen
from wstar_service.ports import reserved
from wstar_service.pulse import Pulse
from wstar_service.settings import Address

if TYPE_CHECKING:
    from tests.service.conftest import World

LOCAL = Address("127.0.0.1", 0)
# Interpreters start, import and prove themselves on cores that others use too.
PATIENCE_S = 60.0


@dataclass
class Supervised:
    """A started supervisor, its log so far, and where it answers."""

    process: subprocess.Popen[str]
    pages: Address
    address: str = ""
    log: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the log as it comes."""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            # ONNX Runtime writes lines of its own.
            if line.startswith("{"):
                self.log.append(json.loads(line))

    def ended(self) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)
        return code

    def workers(self) -> list[int]:
        """Process ids of the workers that run."""
        return [pid for pid in children(self.process.pid) if b"spawn_main" in command(pid)]

    def page(self, path: str) -> tuple[int, str]:
        """Ask the HTTP port."""
        connection = http.client.HTTPConnection(self.pages.host, self.pages.port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found

    def samples(self) -> dict[tuple[str, ...], float]:
        """What /metrics tells, by name and values of labels."""
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(self.page("/metrics")[1])
            for sample in family.samples
        }

    def call(self) -> pb.GetInfoResponse:
        """Make a call over a connection of its own, to whichever worker gets it."""
        # Channels of one process share connections unless they differ.
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.address, options=options) as channel:
            reply = LatentSpaceServiceStub(channel).GetInfo(pb.GetInfoRequest(), timeout=30)
            assert isinstance(reply, pb.GetInfoResponse)
            return reply


def children(pid: int) -> list[int]:
    return [int(found) for found in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def gone(pids: list[int]) -> bool:
    """Whether none runs; one that nobody has waited for has ended as well."""
    return all(command(pid) == b"" for pid in pids)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(repository: Path, folder: Path, *arguments: str) -> Iterator[Supervised]:
    """Start two workers on a free port; kill them if the test did not stop them."""
    pages = Address("127.0.0.1", free_port())
    command = [sys.executable, "-m", "wstar_service", "--workers", "2", "--drain-s", "0"]
    command += ["--listen", "127.0.0.1:0", "--metrics", str(pages)]
    command += ["--repository", str(repository), *arguments]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    found = Supervised(process, pages)
    try:
        yield found
    finally:
        process.kill()
        found.ended()
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="module")
def running(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """Two workers that are ready; ask them, kill one, do not stop them."""
    with started(repository, tmp_path_factory.mktemp("running")) as found:
        assert found.process.stdout is not None
        found.address = found.process.stdout.readline().strip()
        yield found


def test_they_are_ready_when_the_address_is_printed(running: Supervised) -> None:
    assert running.address.startswith("127.0.0.1:")
    assert running.page("/readyz") == (200, "ok\n")
    assert running.page("/livez") == (200, "ok\n")
    assert len(running.workers()) == 2


def test_cpus_are_shared_out(running: Supervised) -> None:
    serving = [line for line in running.log if line["message"] == "serving"]
    assert len(serving) == 2
    (first,) = [line for line in running.log if line["logger"] == "wstar.workers"]
    assert first["message"] == f"2 workers on {running.address}, metrics on {running.pages}"


def test_metrics_are_summed_over_workers(running: Supervised) -> None:
    key = ("wstar_request_duration_seconds_count", "GetInfo", "OK")
    before = running.samples().get(key, 0.0)
    # All to one of two workers: once in 2^39 times.
    for _ in range(40):
        running.call()
    found = running.samples()
    assert found[key] == before + 40
    assert found["wstar_in_flight_calls",] == 0
    # Of all workers, not a sum.
    assert found["wstar_ready", "embed"] == 1
    assert [value for key, value in found.items() if key[0] == "wstar_build_info"] == [1]


def test_metrics_are_those_of_one_process(running: Supervised) -> None:
    running.call()
    kinds = {family.name: family.type for family in Metrics().registry.collect()}
    text = running.page("/metrics")[1]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families.keys() <= kinds.keys()
    assert len(families) > 10
    for name, family in families.items():
        assert family.type == kinds[name]
        assert not any("pid" in sample.labels for sample in family.samples)


def test_a_worker_that_dies_is_replaced_and_its_counts_stay(running: Supervised) -> None:
    running.call()
    key = ("wstar_request_duration_seconds_count", "GetInfo", "OK")
    before = running.samples()
    killed, other = running.workers()
    os.kill(killed, signal.SIGKILL)
    until(lambda: running.page("/readyz")[0] == 503)
    # Only the one that is left listens: each call reaches it.
    for _ in range(10):
        running.call()
    assert running.page("/livez")[0] == 200
    until(lambda: running.page("/readyz")[0] == 200)
    assert other in running.workers()
    assert len(running.workers()) == 2
    for _ in range(10):
        running.call()
    after = running.samples()
    assert after[key] == before[key] + 20
    assert after["wstar_ready", "embed"] == 1
    warnings = [line["message"] for line in running.log if line["level"] == "WARNING"]
    (said,) = [text for text in warnings if text.startswith("worker ")]
    assert said.endswith("ended with exit code -9; another in 1 s")


@pytest.mark.slow
def test_a_loop_that_stands_still_is_told(running: Supervised) -> None:
    stuck = running.workers()[0]
    os.kill(stuck, signal.SIGSTOP)
    try:
        time.sleep(25)
        assert running.page("/livez")[0] == 200
        until(lambda: running.page("/livez")[0] == 503)
    finally:
        os.kill(stuck, signal.SIGCONT)
    until(lambda: running.page("/livez")[0] == 200)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_and_leaves_nothing(
    repository: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with started(repository, tmp_path, "--threads", "1") as found:
        assert found.process.stdout is not None
        found.process.stdout.readline()
        workers = found.workers()
        found.process.send_signal(number)
        assert found.ended() == 0
        assert gone(workers)
        assert found.process.stdout.read() == ""
    assert list(tmp_path.iterdir()) == []
    assert not any("exception" in line for line in found.log)
    assert {line["level"] for line in found.log if line["logger"].startswith("wstar")} == {"INFO"}


def test_calls_in_flight_are_finished(repository: Path, tmp_path: Path, world: World) -> None:
    with started(repository, tmp_path, "--drain-s", "2") as found:
        assert found.process.stdout is not None
        address = found.process.stdout.readline().strip()
        with grpc.insecure_channel(address) as channel:
            stub = LatentSpaceServiceStub(channel)
            faces = [world.face(51)] * 8
            stub.Embed(pb.EmbedRequest(faces=faces), timeout=30)
            found.process.send_signal(signal.SIGTERM)
            until(lambda: found.page("/readyz")[0] == 503)
            # It drains: who has not looked yet is answered.
            assert len(stub.Embed(pb.EmbedRequest(faces=faces), timeout=30).embeddings) == 8
        assert found.ended() == 0


def test_a_second_signal_kills_all(repository: Path, tmp_path: Path) -> None:
    with started(repository, tmp_path, "--drain-s", "600") as found:
        assert found.process.stdout is not None
        found.process.stdout.readline()
        workers = found.workers()
        found.process.send_signal(signal.SIGTERM)
        until(lambda: found.page("/readyz")[0] == 503)
        found.process.send_signal(signal.SIGINT)
        assert found.ended() == 128 + signal.SIGINT
        assert gone(workers)
    assert list(tmp_path.iterdir()) == []


def test_none_is_left_when_the_supervisor_is_killed(repository: Path, tmp_path: Path) -> None:
    with started(repository, tmp_path) as found:
        assert found.process.stdout is not None
        address = Address.parse(found.process.stdout.readline().strip())
        helpers = children(found.process.pid)
        assert len(helpers) >= 2
        found.process.kill()
        until(lambda: gone(helpers))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address.host, address.port), timeout=5)


def test_a_worker_that_cannot_serve_ends_all(tmp_path: Path) -> None:
    with started(tmp_path / "missing", tmp_path) as found:
        assert found.ended() == 1
        assert found.process.stdout is not None
        assert found.process.stdout.read() == ""
    said = [line["message"] for line in found.log]
    assert any("missing" in text for text in said)
    assert any(text.endswith("could not serve, exit code 1") for text in said)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_keeps_dying_is_given_ever_longer_pauses() -> None:
    program = [sys.executable, str(Path(__file__).with_name("brief_workers.py"))]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found = Supervised(process, LOCAL)
    until(lambda: sum("another" in line["message"] for line in found.log) >= 4)
    process.terminate()
    assert found.ended() == 0
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.read().startswith("127.0.0.1:")
    process.stdout.close()
    process.stderr.close()
    for worker in (0, 1):
        said = [line["message"] for line in found.log if f"worker {worker} " in line["message"]]
        start = f"worker {worker} ended with exit code 3; another in"
        assert said[:2] == [f"{start} 1 s", f"{start} 2 s"]


def test_a_port_in_use_is_told(repository: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        # As another server of this kind would hold it.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = Address("127.0.0.1", other.getsockname()[1])
        with started(repository, tmp_path, "--listen", str(address)) as found:
            assert found.ended() == 1
        (line,) = found.log
        assert line["message"].endswith(
            f"cannot listen on {address}: in use, or no address of this machine"
        )
        with reserved(address, shared=True) as found_address:
            assert found_address == address


def test_a_metrics_port_in_use_is_told(repository: Path, tmp_path: Path) -> None:
    address, stop = listen(LOCAL, Metrics().registry, Pulse().alive, Pulse().ready)
    with started(repository, tmp_path, "--metrics", str(address)) as found:
        assert found.ended() == 1
    stop()
    assert f"cannot listen on {address}" in found.log[-1]["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::1]", "[::]", "localhost"])
def test_a_reserved_port_is_for_those_who_share_it(host: str) -> None:
    with reserved(Address(host, 0), shared=False) as address:
        assert address.host == host
        assert address.port > 0
        sharing = grpc.server(None, options=[("grpc.so_reuseport", 1)])
        assert sharing.add_insecure_port(str(address)) == address.port
        sharing.start()
        alone = grpc.server(None, options=[("grpc.so_reuseport", 0)])
        with pytest.raises(RuntimeError):
            alone.add_insecure_port(str(address))
        with pytest.raises(OSError, match="in use"), reserved(address, shared=False):
            pass
        sharing.stop(None).wait()


@pytest.mark.parametrize("address", ["192.0.2.1:0", "nowhere.invalid:0"])
def test_an_address_of_another_machine_is_told(address: str) -> None:
    with pytest.raises(OSError, match="no address of this machine"):
        with reserved(Address.parse(address), shared=False):
            pass


def test_the_supervisor_loads_neither_grpc_nor_an_engine() -> None:
    code = "import sys, wstar_service.main, wstar_service.workers; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"grpc", "onnxruntime", "tritonclient", "numpy", "PIL"}
