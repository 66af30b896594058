"""What the images install is installed here, step by step, and what they start is started.

No container engine runs on this machine: base images, users and the read-only root are not tried.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.deploy import dockerfiles
from tests.deploy.dockerfiles import NAMES, ROOT, Stage
from tests.load.balancer import free_address

import wstar

PREFIX = "/opt/wstar"
START_S = 60.0
FACE = ROOT / "service/wstar_service/demo/pictures/face-01.png"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_copied_is_there(name: str) -> None:
    copied = [source for each in dockerfiles.stages(name) for s, _ in each.copied for source in s]
    assert copied
    assert not [source for source in copied if not list(dockerfiles.sent(source))]


def test_a_build_sees_nothing_else() -> None:
    def secret(path: str) -> bool:
        return not list(dockerfiles.sent(path))

    assert secret("tests") and secret("CHANGELOG.md") and secret("training/demo-world")
    assert secret(".venv/bin/python") and secret("deploy/kubernetes")
    assert not [path for path in dockerfiles.sent("proto") if "__pycache__" in path.parts]


@pytest.mark.parametrize("name", NAMES)
def test_every_image_runs_as_nobody_in_particular(name: str) -> None:
    last = dockerfiles.stages(name)[-1]
    users = last.texts("USER") or dockerfiles.stage(name, last.base).texts("USER")
    uid, gid = users[-1].split(":")
    assert int(uid) >= 10000 and int(gid) >= 10000


def test_versions_are_exact_and_agree() -> None:
    bases = {each.base for name in NAMES for each in dockerfiles.stages(name) if ":" in each.base}
    # Of the release that builds engines and the one that serves them there is one.
    assert len(bases) == 2
    assert all(re.search(r":\d+\.\d+(\.\d+)?-", base) for base in bases)
    for text in dockerfiles.stage("Dockerfile", "service").texts("LABEL"):
        assert f'version="{wstar.__version__}"' in text


@pytest.mark.parametrize("name", NAMES)
def test_what_is_started_as_a_module_is_copied(name: str) -> None:
    for each in dockerfiles.stages(name):
        for _ in each.texts("ENTRYPOINT"):
            command = each.command("ENTRYPOINT")
            if command[1:2] == ["-m"]:
                module = ROOT / (command[2].replace(".", "/") + ".py")
                sources = [source for found, _ in each.copied for source in found]
                assert module.relative_to(ROOT).as_posix() in sources
                # And the module that it imports.
                assert "deploy/engines/key.py" in sources


class Built:
    """The stages `build`, `service` and `repository` in folders of this machine."""

    def __init__(self, folder: Path) -> None:
        self.prefix, self.source = folder / "opt", folder / "src"
        self.service = dockerfiles.stage("Dockerfile", "service")
        self.repository = dockerfiles.stage("Dockerfile", "repository")
        build = dockerfiles.stage("Dockerfile", "build")
        _copy(build, self.source)
        for text in build.texts("RUN"):
            # The same shell text; `python` is the base image's, `/opt/wstar` is elsewhere.
            text = re.sub(r"^python ", f"{sys.executable} ", text)
            text = text.replace(PREFIX, str(self.prefix))
            subprocess.run(["sh", "-ec", text], cwd=self.source, check=True, env=_bare())
        assert "python:3.11" in build.base and self.service.base == build.base

    def run(self, *command: str, **told: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the image to its end, told these variables too."""
        return subprocess.run(
            self._here(command), env=self.environment(told), capture_output=True, text=True
        )

    def start(self, *command: str, **told: str) -> subprocess.Popen[str]:
        """Start one that goes on."""
        pipe = subprocess.PIPE
        environment = self.environment(told)
        return subprocess.Popen(self._here(command), env=environment, stdout=pipe, text=True)

    def environment(self, told: dict[str, str]) -> dict[str, str]:
        """The image's own variables, its folders put where they are here."""
        image = {
            key: value.replace(PREFIX, str(self.prefix)).replace("$PATH", os.environ["PATH"])
            for key, value in self.service.environment.items()
        }
        return {**_bare(), **image, **told}

    def _here(self, command: tuple[str, ...]) -> list[str]:
        return [str(self.prefix / "bin" / command[0]), *command[1:]]


def _bare() -> dict[str, str]:
    """Nothing of this project's own environment, or the image would borrow from it."""
    ours = ("PYTHON", "WSTAR_", "VIRTUAL_ENV")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


def _copy(stage: Stage, target: Path) -> None:
    for sources, place in stage.copied:
        for source in sources:
            for path in dockerfiles.sent(source):
                inside = path.name if path == ROOT / source else path.relative_to(ROOT / source)
                written = target / place.lstrip("/") / inside
                written.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, written)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("image"))


@pytest.fixture
def repository(built: Built, tmp_path: Path) -> Path:
    """The volume that the entry point of `repository` fills, as /repository/onnx."""
    _copy(built.repository, tmp_path)
    volume = tmp_path / "repository"
    volume.mkdir()
    places = {"/models": str(tmp_path / "models"), "/repository": str(volume)}
    command = [places.get(word, word) for word in built.repository.command("ENTRYPOINT")]
    modules = built.repository.environment["PYTHONPATH"]
    done = built.run(*command, PYTHONPATH=f"{tmp_path}{modules}")
    assert done.returncode == 0, done.stderr
    return volume / "onnx"


@pytest.mark.slow
def test_the_service_has_what_it_needs_and_no_more(built: Built) -> None:
    for name in ("torch", "onnx", "tensorrt", "pip", "setuptools", "wstar_training"):
        assert built.run("python", "-c", f"import {name}").returncode != 0, name
    done = built.run("python", "-c", "import onnxruntime, tritonclient.grpc, opentelemetry.sdk")
    assert done.returncode == 0, done.stderr
    assert built.run("wstar", "--version").stdout == f"wstar {wstar.__version__}\n"
    commands = {path.name for path in (built.prefix / "bin").glob("wstar*")}
    assert commands == {"wstar", "wstar-serve"}


@pytest.mark.slow
def test_what_is_installed_is_pinned(built: Built) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {line.lower().replace("_", "-") for line in lines if "==" in line and line[0] != "#"}
    code = (
        "from importlib.metadata import distributions as d\n"
        "for x in d(): print(f'{x.metadata[\"Name\"]}=={x.version}')"
    )
    found = set(built.run("python", "-c", code).stdout.lower().replace("_", "-").split())
    assert found - pins == {f"wstar=={wstar.__version__}"}


@pytest.mark.slow
def test_the_entry_point_serves_until_it_is_told_to_stop(
    built: Built, repository: Path, tmp_path: Path
) -> None:
    def files() -> set[Path]:
        return set(built.prefix.rglob("*")) | set(repository.rglob("*"))

    before = files()
    address, pages = free_address(), free_address()
    told = {"WSTAR_REPOSITORY": str(repository), "WSTAR_LISTEN": address, "WSTAR_METRICS": pages}
    process = built.start(*built.service.command("ENTRYPOINT"), WSTAR_DRAIN_S="0", **told)
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == address
            health = [
                word.replace("127.0.0.1:9090", pages)
                for word in built.service.command("HEALTHCHECK")
            ]
            assert built.run(*health).returncode == 0
            # The client is in the image too, without the packages that only a terminal needs.
            output = tmp_path / "codes.npz"
            done = built.run(
                "wstar", "embed", str(FACE), "--output", str(output), "--server", address
            )
            assert done.returncode == 0, done.stderr
            assert output.is_file()
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(START_S)
    assert code == 0
    assert built.run(*health).returncode != 0
    # A read-only root is enough.
    assert files() == before
