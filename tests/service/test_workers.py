"""`wstar-serve --workers 2`: one port, one page of metrics, one thing to start, kill and stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.service.supervised import Supervised, children, gone, started, until

from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub
from wstar_service.cpus import allowed_cpus
from wstar_service.metrics import Metrics
from wstar_service.pages import listen
from wstar_service.ports import reserved
from wstar_service.pulse import Pulse
from wstar_service.settings import Address

if TYPE_CHECKING:
    from tests.service.conftest import World

LOCAL = Address("127.0.0.1", 0)


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


def test_the_log_says_what_is_where(running: Supervised) -> None:
    (first,) = [line for line in running.log if line["logger"] == "wstar.workers"]
    assert first["message"] == f"2 workers on {running.address}, metrics on {running.pages}"
    assert sum(line["message"] == "serving" for line in running.log) == 2


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


def test_a_stop_answers_calls_and_leaves_nothing(
    repository: Path, tmp_path: Path, world: World
) -> None:
    with started(repository, tmp_path, "--drain-s", "1") as found:
        assert found.process.stdout is not None
        address = found.process.stdout.readline().strip()
        workers = found.workers()
        with grpc.insecure_channel(address) as channel:
            stub = LatentSpaceServiceStub(channel)
            faces = [world.face(51)] * 8
            stub.Embed(pb.EmbedRequest(faces=faces), timeout=30)
            found.process.send_signal(signal.SIGTERM)
            until(lambda: found.page("/readyz")[0] == 503)
            # It drains: who has not looked yet is answered.
            assert len(stub.Embed(pb.EmbedRequest(faces=faces), timeout=30).embeddings) == 8
        assert found.ended() == 0
        assert gone(workers)
        assert found.process.stdout.read() == ""
    assert list(tmp_path.glob("wstar-*")) == []
    assert not any("exception" in line for line in found.log)
    assert {line["level"] for line in found.log if line["logger"].startswith("wstar")} == {"INFO"}


def test_ctrl_c_stops_all_without_a_drain(repository: Path, tmp_path: Path) -> None:
    with started(repository, tmp_path, "--drain-s", "600") as found:
        assert found.process.stdout is not None
        found.process.stdout.readline()
        workers = found.workers()
        # As a terminal does: to the whole group, which workers are not in.
        os.killpg(found.process.pid, signal.SIGINT)
        assert found.ended() == 0
        assert gone(workers)


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
    assert list(tmp_path.glob("wstar-*")) == []


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
    assert list(tmp_path.glob("wstar-*")) == []


def test_a_worker_that_keeps_dying_is_given_ever_longer_pauses() -> None:
    program = [sys.executable, str(Path(__file__).with_name("brief_workers.py"))]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found = Supervised(process, LOCAL)
    until(lambda: sum("another" in line["message"] for line in found.log) >= 4)
    process.terminate()
    assert found.ended() == 0
    assert process.stdout is not None and process.stderr is not None
    address = process.stdout.read().strip()
    process.stdout.close()
    process.stderr.close()
    told = [line for line in found.log if line["message"] == "started"]
    assert len(told) >= 4
    for line in told:
        assert line["listen"] == address
        assert (line["metrics"], line["workers"], line["reuse_port"]) == ("None", "1", "True")
        assert line["threads"] == str(max(1, allowed_cpus() // 2))
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
    assert list(tmp_path.glob("wstar-*")) == []


def test_the_supervisor_loads_neither_grpc_nor_an_engine() -> None:
    code = "import sys, wstar_service.main, wstar_service.workers; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"grpc", "onnxruntime", "tritonclient", "numpy", "PIL"}
