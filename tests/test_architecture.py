"""What the project promises of itself: imports, generated files, sizes, texts, the wheel."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("training", "export", "model_repository", "service", "proto", "deploy", "tests")
PACKAGES = {
    "wstar": "proto",
    "wstar_training": "training",
    "wstar_export": "export",
    "wstar_service": "service",
}
ENGINES = {"torch", "onnx", "onnxruntime", "tensorrt", "tritonclient"}
NEVER = {
    "wstar": {*ENGINES, "wstar_training", "wstar_export", "wstar_service"},
    "wstar_training": {*ENGINES - {"torch"}, "grpc", "wstar_export", "wstar_service"},
    "wstar_export": {"tensorrt", "tritonclient", "grpc", "wstar_service"},
    "wstar_service": {*ENGINES - {"onnxruntime"}, "wstar_training", "wstar_export"},
}
HEADINGS = (
    "What is here",
    "Run it",
    "What it reads and writes",
    "What it may import and who imports it",
    "What is deliberately not here",
)
MAX_LINES = 350
# Built from parts, or this file would be its own finding.
PERSONAL_PATH = re.compile(rb"(?<![\w.])/(?:ho" rb"me|ro" rb"ot|Us" rb"ers|wo" rb"rk)/\w")


def project_files() -> Iterator[Path]:
    """Files that belong to the project, generated caches and environments left out."""
    yield from (path for path in ROOT.iterdir() if path.is_file())
    for folder in (*FOLDERS, ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def python(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_imports_follow_the_table() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_wstar_loads_nothing_of_others() -> None:
    code = """
import sys
before = set(sys.modules)
import wstar
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names)))
"""
    assert python(code).split() == ["wstar"]


@pytest.mark.parametrize("package", PACKAGES)
def test_whole_package_loads_without(package: str) -> None:
    """Import every module of a package; also proves that no module runs a program on import."""
    code = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith((".triton", ".triton_tensors", "__main__")):
        importlib.import_module(module.name)
print(*sys.modules)
"""
    loaded = set(python(code, package).split())
    assert not loaded & NEVER[package]


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_readme_answers_the_same_questions(folder: str) -> None:
    readme = ROOT / folder / "README.md"
    assert readme.is_file()
    text = readme.read_text(encoding="utf-8")
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == HEADINGS


def test_no_file_grows_beyond_the_limit() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in project_files()
        if path.suffix == ".py" and "_pb2" not in path.name
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert not long


def test_no_file_tells_whose_machine_made_it() -> None:
    found = {
        str(path.relative_to(ROOT)): match.group()
        for path in project_files()
        if (match := PERSONAL_PATH.search(path.read_bytes()))
    }
    assert not found


def test_stubs_are_what_the_proto_generates(tmp_path: Path) -> None:
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed (extra: test)")
    arguments = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-Iproto", *arguments, "wstar/v1/wstar.proto"],
        cwd=ROOT,
        check=True,
    )
    generated = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert len(generated) == 3
    for path in generated:
        committed = ROOT / "proto" / path.relative_to(tmp_path)
        assert path.read_text() == committed.read_text(), f"{committed.name} is stale: make proto"


def test_wheel_holds_every_source_file(tmp_path: Path) -> None:
    """The wheel is built from a copy, so that no build folder is left in the tree."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed (extra: test)")
    expected = set()
    for package, folder in PACKAGES.items():
        for path in (ROOT / folder / package).rglob("*"):
            name = path.relative_to(ROOT / folder)
            if path.suffix in {".py", ".pyi", ".proto", ".png", ".typed"}:
                expected.add(name.as_posix())
                copy = tmp_path / "source" / folder / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    for text in ("pyproject.toml", "README.md"):
        (tmp_path / "source" / text).write_bytes((ROOT / text).read_bytes())
    source = str(tmp_path / "source")
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), source]
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    (wheel,) = tmp_path.glob("wstar-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entries,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        commands = re.findall(r"^([\w-]+) =", archive.read(entries).decode(), re.MULTILINE)
    assert held == expected
    assert set(commands) == {"wstar", "wstar-serve", "wstar-train", "wstar-export"}
