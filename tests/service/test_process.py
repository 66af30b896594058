"""`wstar-serve` as users start it: one line when ready, calls answered, 0 after SIGTERM."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from wstar.checksums import write_checksums
from wstar.codes import Code
from wstar.graphs import Space
from wstar.v1 import wstar_pb2 as pb
from wstar.v1.wstar_pb2_grpc import LatentSpaceServiceStub

if TYPE_CHECKING:
    from tests.service.conftest import World

SERVE = [sys.executable, "-m", "wstar_service", "--listen", "127.0.0.1:0", "--threads", "1"]
SERVE += ["--drain-s", "0"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_the_folder_until_told_to_stop(
    repository: Path, world: World, number: signal.Signals
) -> None:
    arguments = [*SERVE, "--repository", str(repository)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        assert address.startswith("127.0.0.1:")
        with grpc.insecure_channel(address) as channel:
            stub = LatentSpaceServiceStub(channel)
            reply = stub.Embed(pb.EmbedRequest(faces=[world.face(51)]), timeout=30)
            code = Code.from_message(reply.embeddings[0].code, "code")
            assert abs(code.values - world.values(51, Space.W_STAR)).max() < 1e-6
            edits = [pb.AttributeEdit(attribute="Smiling", target_probability=0.99)]
            edited = stub.Edit(pb.EditRequest(face=world.face(51), edits=edits), timeout=30)
            assert edited.results[0].picture.startswith(b"\x89PNG")
        process.send_signal(number)
        rest, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert rest == b""
    lines = [json.loads(line) for line in log.splitlines()]
    calls = [(line["method"], line["code"]) for line in lines if line["message"] == "call"]
    assert calls == [("Embed", "OK"), ("Edit", "OK")]
    assert b"Traceback" not in log


def test_a_repository_that_answers_otherwise_is_not_served(
    repository: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "copy"))
    path = copy / "flow_id" / "space.json"
    manifest = json.loads(path.read_text())
    other = json.loads((copy / "flow" / "space.json").read_text())
    manifest["golden"]["w_star"] = other["golden"]["w_star"]
    path.write_text(json.dumps(manifest))
    write_checksums(copy)
    done = subprocess.run(
        [*SERVE, "--repository", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "cannot serve: graph 'flow_id', w_star of the golden request: expected" in done.stderr
    assert "Traceback" not in done.stderr


def test_calls_that_outlast_the_grace_leave_no_traceback(repository: Path, world: World) -> None:
    request = pb.EditRequest(face=world.code(51), strengths=[1.0] * 64)
    arguments = [*SERVE, "--repository", str(repository), "--grace-s", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        with grpc.insecure_channel(address) as channel:
            stub = LatentSpaceServiceStub(channel)
            stub.GetInfo(pb.GetInfoRequest(), timeout=30)
            calls = [stub.Edit.future(request) for _ in range(12)]
            process.terminate()
            _, log = process.communicate(timeout=30)
            del calls
    assert process.returncode == 0, log
    assert b"Traceback" not in log


def test_a_second_signal_ends_it_at_once(repository: Path) -> None:
    arguments = [*SERVE, "--repository", str(repository)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        _, log = process.communicate(timeout=30)
    # Which of the two comes first is not promised.
    assert process.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT), log
    assert b"Traceback" not in log


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    arguments = [*SERVE, "--repository", str(tmp_path / "missing")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "missing" in done.stderr
    assert "`wstar-export repository` writes one" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told(repository: Path) -> None:
    arguments = [*SERVE, "--repository", str(repository)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as first:
        assert first.stdout is not None
        address = first.stdout.readline().decode().strip()
        second = subprocess.run(
            [*arguments, "--listen", address], capture_output=True, timeout=60, check=False
        )
        first.terminate()
        first.communicate(timeout=30)
    assert second.returncode == 1
    assert f"cannot listen on {address}: in use".encode() in second.stderr
    assert b"Traceback" not in second.stderr


def test_importing_the_service_loads_no_engine() -> None:
    code = "import sys, wstar_service, wstar_service.servicer; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "onnx", "onnxruntime", "tritonclient", "tensorrt"}
