"""The Indexed Job does with its own command line what one command does, whatever is killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.deploy.bulk import FOLDER, PICTURES, Pods, container, job, variables
from tests.service.certificates import Authority
from tests.service.triton_process import DEMO

from wstar import __version__
from wstar.arguments import parser
from wstar.cli import main
from wstar.code_files import read_whole
from wstar.commands.embed import SOME_SKIPPED
from wstar_service.settings import Settings

SHARDS = int(job()["spec"]["completions"])
COPIES = 3
TOKEN = "bulk-token-of-the-tests"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The demo world over TLS, for callers with a token: its address, and what a client needs."""
    folder = tmp_path_factory.mktemp("server")
    authority = Authority()
    certificate, key = authority.issue("wstar").write(folder)
    (folder / "tokens").write_text(f"bulk {TOKEN}\n")
    client = folder / "client"
    client.mkdir()
    (client / "token").write_text(TOKEN)
    (client / "ca.crt").write_bytes(authority.certificate)
    command = [sys.executable, "-m", "wstar_service", "--repository", str(DEMO)]
    command += ["--listen", "127.0.0.1:0", "--threads", "1", "--drain-s", "0"]
    command += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    command += ["--tokens", str(folder / "tokens")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        yield address, client
        process.terminate()


@pytest.fixture
def pods(server: tuple[str, Path], tmp_path: Path) -> Pods:
    """Pods with volumes of their own: some hundred pictures, no codes yet."""
    address, client = server
    volumes = {f"/{name}": tmp_path / name for name in ("pictures", "codes")}
    volumes["/codes"].mkdir()
    for copy in range(COPIES):
        shutil.copytree(PICTURES, volumes["/pictures"] / str(copy))
    return Pods({**volumes, "/client": client}, address)


def images(folder: Path) -> dict[str, dict[str, str]]:
    """What a kustomization makes of the names of images."""
    found = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["images"]
    return {each["name"]: each for each in found}


def first_code_is_there(process: subprocess.Popen[str]) -> bool:
    """Whether the process holds codes in a file that has no name yet."""
    try:
        held = [path.stat() for path in Path(f"/proc/{process.pid}/fd").iterdir()]
    except FileNotFoundError:  # It closed one while we looked.
        return False
    return any(file.st_nlink == 0 and file.st_size > 0 for file in held)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="watches processes through /proc")
def test_all_indices_make_what_one_command_makes_though_one_was_killed(
    pods: Pods, tmp_path: Path
) -> None:
    codes = pods.volumes["/codes"]
    killed = SHARDS // 2
    with pods.start(killed) as process:
        while not first_code_is_there(process):
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.kill()
    assert list(codes.iterdir()) == []
    # What a kill in the moment of writing leaves is in nobody's way.
    (codes / f".codes-{killed}.npz.0123abcd.partial").write_bytes(b"half")
    with ThreadPoolExecutor(2) as two:
        first = list(two.map(pods.run, range(SHARDS - 1)))
        assert [code for code, _ in first] == [0] * (SHARDS - 1), first
        made = {path.name: path.stat() for path in codes.glob("*.npz")}
        # The Job again: only what is missing is made.
        second = list(two.map(pods.run, range(SHARDS)))
    assert [code for code, _ in second] == [0] * SHARDS, second
    assert ["left alone" in told for _, told in second] == [True] * (SHARDS - 1) + [False]
    for name, before in made.items():
        now = (codes / name).stat()
        assert (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    whole = tmp_path / "whole.npz"
    client = pods.volumes["/client"]
    asked = ["--server", pods.server, "--token-file", str(client / "token")]
    asked += ["--tls-ca", str(client / "ca.crt"), "--output", str(whole)]
    assert main(["embed", str(pods.volumes["/pictures"]), *asked]) == 0
    parts = [read_whole(codes / f"codes-{index}.npz") for index in range(SHARDS)]
    expected = read_whole(whole)
    assert [name for part in parts for name in part.names] == expected.names
    assert len(set(expected.names)) == COPIES * len(list(PICTURES.iterdir()))
    assert {(part.space, part.space_id) for part in parts} == {(expected.space, expected.space_id)}
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), expected.values)


def test_a_picture_that_cannot_be_read_fails_its_index_once_and_costs_no_other_face(
    pods: Pods,
) -> None:
    (pods.volumes["/pictures"] / "0" / "face-00.png").write_bytes(b"no picture")
    code, told = pods.run(0)
    assert code == SOME_SKIPPED and "face-00.png" in told
    (pods.volumes["/pictures"] / "0" / "face-00.png").unlink()
    held = read_whole(pods.volumes["/codes"] / "codes-0.npz").names
    assert len(held) == (COPIES * len(list(PICTURES.iterdir())) + 1) // SHARDS - 1
    (rule,) = [rule for rule in job()["spec"]["podFailurePolicy"]["rules"] if "onExitCodes" in rule]
    assert rule["action"] == "FailIndex"
    assert rule["onExitCodes"]["values"] == [SOME_SKIPPED]
    assert rule["onExitCodes"]["containerName"] == container()["name"]


def test_the_manifest_agrees_with_itself_and_with_the_code() -> None:
    spec = job()["spec"]
    assert spec["completionMode"] == "Indexed"
    assert variables()["SHARDS"] == str(spec["completions"])
    assert variables()["WSTAR_SERVER"] == f"wstar:{Settings().listen.port}"
    # Each variable is an option of the command, so that none is misspelt.
    given = {name: value for name, value in variables().items() if name.startswith("WSTAR_")}
    arguments = vars(parser(given).parse_args(["embed", "a.png", "--output", "b.npz"]))
    for name, value in given.items():
        assert str(arguments[name.removeprefix("WSTAR_").lower()]) == value
    # The rest of what is called by name: the base of the service.
    base = FOLDER.parent / "base"
    service = yaml.safe_load((base / "service.yaml").read_text())
    assert f"{service['metadata']['name']}:50051" == variables()["WSTAR_SERVER"]
    assert 50051 in {port["port"] for port in service["spec"]["ports"]}
    assert images(FOLDER)[container()["image"]] == images(base)[container()["image"]]
    assert images(FOLDER)[container()["image"]]["newTag"] == __version__


def test_the_pod_is_restricted_and_its_pictures_cannot_be_written() -> None:
    pod, own = job()["spec"]["template"]["spec"], container()["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert (own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]) == (False, True)
    assert pod["automountServiceAccountToken"] is False
    writable = [each["name"] for each in container()["volumeMounts"] if not each.get("readOnly")]
    assert writable == ["codes"]
    assert {each["name"] for each in pod["volumes"]} == {
        each["name"] for each in container()["volumeMounts"]
    }


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on this machine")
def test_kubectl_renders_it_into_the_namespace_of_the_service() -> None:
    ran = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, check=True
    )
    found = list(yaml.safe_load_all(ran.stdout))
    assert {each["metadata"]["namespace"] for each in found} == {"wstar"}
    assert {each["kind"] for each in found} == {"Job", "NetworkPolicy", "PersistentVolumeClaim"}
    (rendered,) = [each for each in found if each["kind"] == "Job"]
    (pod,) = rendered["spec"]["template"]["spec"]["containers"]
    assert pod["args"] == container()["args"]
    # The policy of the network is that of these pods, and lets them reach the port they call.
    (policy,) = [each["spec"] for each in found if each["kind"] == "NetworkPolicy"]
    labels = rendered["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert int(variables()["WSTAR_SERVER"].partition(":")[2]) in ports
