"""Checksums: a changed byte in any file is named, by the command and at the service's start."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wstar.checksums import CHECKSUMS_FILE, check_checksums, update_checksums, write_checksums
from wstar.errors import ContractMismatch
from wstar_export.cli import main
from wstar_service.embedded import EmbeddedRunner
from wstar_service.golden import check_golden

DEMO = Path(__file__).resolve().parents[2] / "model_repository" / "demo"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo repository, left as it was found by every test."""
    return Path(shutil.copytree(DEMO, tmp_path_factory.mktemp("demo") / "elsewhere"))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder of three files and their checksums."""
    for name in ("b/1/model.onnx", "a/config.pbtxt", "a/1/model.onnx"):
        path = tmp_path / "small" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    write_checksums(tmp_path / "small")
    return tmp_path / "small"


@contextmanager
def flipped(path: Path) -> Iterator[None]:
    """One bit in the middle of a file turned over."""
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    try:
        yield
    finally:
        path.write_bytes(data)


@pytest.mark.parametrize(
    "name", sorted(p.relative_to(DEMO).as_posix() for p in DEMO.rglob("*") if p.is_file())
)
def test_a_flipped_byte_is_caught_by_the_check_and_at_service_start(
    demo: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, _, file = name.partition("/")
    with flipped(demo / name):
        assert main(["repository", "--check", str(demo)]) == 1
        with pytest.raises(ContractMismatch) as caught:
            EmbeddedRunner.open(demo, 1)
    shown = capsys.readouterr().err
    if name == CHECKSUMS_FILE:
        # Which file the flipped line speaks of, or that it is no line, is by chance of its place.
        assert "SHA-256" in shown or CHECKSUMS_FILE in shown
    else:
        assert f"graph {graph!r}, {file}: expected 'SHA-256" in shown
        assert (caught.value.graph, caught.value.tensor) == (graph, file)


def test_a_copy_elsewhere_works_unchanged(demo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repository", "--check", str(demo)]) == 0
    assert "is whole" in capsys.readouterr().out

    async def start() -> None:
        runner = EmbeddedRunner.open(demo, 1)
        try:
            await check_golden(runner, await runner.manifests())
        finally:
            await runner.close()

    asyncio.run(start())


def test_coreutils_reads_the_list(small: Path) -> None:
    command = ["sha256sum", "--check", "--strict", "--quiet", CHECKSUMS_FILE]
    if shutil.which(command[0]) is None:
        pytest.skip("sha256sum is not installed")
    assert subprocess.run(command, cwd=small, check=False).returncode == 0
    (small / "a/config.pbtxt").write_text("other")
    done = subprocess.run(command, cwd=small, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a/config.pbtxt: FAILED" in done.stdout


def test_the_list_is_sorted_and_the_same_for_the_same_files(small: Path) -> None:
    text = (small / CHECKSUMS_FILE).read_text()
    names = [line.split("  ")[1] for line in text.splitlines()]
    assert names == ["a/1/model.onnx", "a/config.pbtxt", "b/1/model.onnx"]
    write_checksums(small)
    assert (small / CHECKSUMS_FILE).read_text() == text


def add(folder: Path) -> None:
    (folder / "a/1/model.plan").write_bytes(b"unknown")


def remove(folder: Path) -> None:
    (folder / "b/1/model.onnx").unlink()


def shorten(folder: Path) -> None:
    text = (folder / CHECKSUMS_FILE).read_text()
    (folder / CHECKSUMS_FILE).write_text(text[:-1])


def scribble(folder: Path) -> None:
    (folder / CHECKSUMS_FILE).write_bytes(b"\xff\n")


def unlist(folder: Path) -> None:
    (folder / CHECKSUMS_FILE).unlink()


@pytest.mark.parametrize(
    ("change", "graph", "tensor"),
    [
        (add, "a", "1/model.plan"),
        (remove, "b", "1/model.onnx"),
        (shorten, "*", CHECKSUMS_FILE),
        (scribble, "*", CHECKSUMS_FILE),
        (unlist, "*", CHECKSUMS_FILE),
    ],
)
def test_files_and_list_must_agree(
    small: Path, change: Callable[[Path], None], graph: str, tensor: str
) -> None:
    check_checksums(small)
    change(small)
    with pytest.raises(ContractMismatch) as caught:
        check_checksums(small)
    assert (caught.value.graph, caught.value.tensor) == (graph, tensor)


def test_an_update_vouches_for_the_named_files_only(small: Path) -> None:
    add(small)
    (small / "a/config.pbtxt").write_text("other")
    update_checksums(small, [small / "a/1/model.plan"])
    with pytest.raises(ContractMismatch) as caught:
        check_checksums(small)
    assert caught.value.tensor == "config.pbtxt"
    remove(small)
    update_checksums(small, [small / "a/config.pbtxt", small / "b/1/model.onnx"])
    check_checksums(small)
