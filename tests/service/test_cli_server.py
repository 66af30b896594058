"""The command against the demo world, served as users serve it: its own examples, TLS, tokens."""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.service.certificates import Authority
from tests.service.triton_process import DEMO

from wstar.cli import main
from wstar.code_files import read_codes
from wstar.examples import EXAMPLES
from wstar.geometry import squared_distance_matrix

SAMPLES = Path(__file__).resolve().parents[2] / "service/wstar_service/demo/pictures"
TOKEN = "not-a-secret-0123456789"
COUNT = 12
CLI = importlib.util.find_spec("pyarrow") and importlib.util.find_spec("sklearn")


@contextmanager
def serving(*options: object) -> Iterator[str]:
    """Serve the demo repository in a process of its own; yields its address."""
    command = [sys.executable, "-m", "wstar_service", "--repository", DEMO, "--threads", "1"]
    command += ["--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def run(folder: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one line of a shell in a folder, within this process: starting others takes longer."""
    program, *arguments = shlex.split(command)
    assert program == "wstar"
    out, err = StringIO(), StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(err),
        chdir(folder),
    ):
        for name, value in variables.items():
            patch.setenv(name, value)
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server, and a folder with the pictures of the examples."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "faces").mkdir()
    for path in sorted(SAMPLES.glob("*.png"))[:COUNT]:
        shutil.copy(path, folder / "faces")
    for name, path in zip("ab", sorted(SAMPLES.glob("*.png")), strict=False):
        shutil.copy(path, folder / f"{name}.png")
    with serving() as address:
        yield address, folder


@pytest.mark.skipif(not CLI, reason="pyarrow or scikit-learn is not installed (extra: cli)")
def test_every_example_of_the_help_runs(world: tuple[str, Path]) -> None:
    address, folder = world
    for name, examples in EXAMPLES.items():
        shown = run(folder, f"wstar {name} --help").stdout
        for example in examples:
            assert f"\n  {example}\n" in shown
            done = run(folder, example, WSTAR_SERVER=address)
            assert done.returncode == 0, done.stderr
            assert bool(done.stdout) and "Traceback" not in done.stderr
            if "--json" in example:
                assert isinstance(json.loads(done.stdout), dict)
    made = {path.name for path in folder.iterdir()} - {"faces", "a.png", "b.png"}
    strip = {"strip-0.png", "strip-0.5.png", "strip-1.png"}
    assert made == {"codes.npz", "codes.parquet", "codes-2.npz", "smile.png", "c.jpg"} | strip
    for name in ("smile.png", "c.jpg", *strip):
        with Image.open(folder / name) as picture:
            assert picture.size == (64, 64)
    names, full = read_codes(folder / "codes.npz")
    assert names == [f"faces/face-{i:02}.png" for i in range(1, COUNT + 1)]
    # The half of every number that float16 keeps: 11 bits.
    for code, half in zip(full, read_codes(folder / "codes.parquet")[1], strict=True):
        np.testing.assert_allclose(half.values, code.values, rtol=2**-11, atol=2**-24)
    assert read_codes(folder / "codes-2.npz")[0] == names[3:6]


def test_neighbors_of_a_picture_are_those_of_its_code(world: tuple[str, Path]) -> None:
    address, folder = world

    def near(query: str, **variables: str) -> list[dict[str, Any]]:
        done = run(folder, f"wstar neighbors {query} --among own.npz --json", **variables)
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)["queries"][0]["neighbors"]
        return found

    assert run(folder, "wstar embed faces --output own.npz", WSTAR_SERVER=address).returncode == 0
    assert run(folder, "wstar embed a.png --output a.npz", WSTAR_SERVER=address).returncode == 0
    by_code, by_picture = near("a.npz"), near("a.png", WSTAR_SERVER=address)
    assert [face["name"] for face in by_picture] == [face["name"] for face in by_code]
    names, codes = read_codes(folder / "own.npz")
    values = np.array([code.values for code in codes])
    squared = squared_distance_matrix(values[:1], values)[0]
    assert [face["name"] for face in by_code] == [names[i] for i in np.argsort(squared)[:10]]
    # A picture alone and in a stream may be computed in other batches: float32 rounds otherwise.
    for one, other in zip(by_picture, by_code, strict=True):
        assert one["squared_distance"] == pytest.approx(other["squared_distance"], abs=1e-6)


def test_a_budget_is_kept_and_shown(world: tuple[str, Path]) -> None:
    address, folder = world
    edit = "wstar edit a.png --set Smiling=0.95 --max-squared-distance 2e-4 --output kept.png"
    done = run(folder, f"{edit} --remeasure --json", WSTAR_SERVER=address)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    # As large as the budget allows to within 1 %.
    assert 0.99 * 2e-4 <= result["squared_distance_moved"] <= 2e-4
    assert 0 < result["scale"] < 1
    assert result["remeasured"]["squared_distance_moved"] > 0
    table = run(folder, f"{edit} --force", WSTAR_SERVER=address).stdout.splitlines()
    assert table[0].split()[:3] == ["picture", "strength", "scale"]


def test_tls_and_tokens_by_option_and_by_variable(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.issue("server").write(tmp_path / "server")
    own, own_key = authority.issue("client").write(tmp_path / "client")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "tokens").write_text(f"tester {TOKEN}\n")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "other").write_text("another-token-0123456789")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "two words").write_text("secret words")
    server = ("--tls-certificate", certificate, "--tls-key", key)
    clients = ("--tls-client-ca", tmp_path / "ca.pem", "--tokens", tmp_path / "tokens")
    with serving(*server, *clients) as address:
        port = address.rpartition(":")[2]
        info = f"wstar info --json --timeout-s 5 --server localhost:{port}"
        tls = f"--tls-ca ca.pem --tls-certificate {own} --tls-key {own_key}"
        done = run(tmp_path, f"{info} {tls} --token-file token")
        assert done.returncode == 0, done.stderr
        variables = {
            "WSTAR_SERVER": f"localhost:{port}",
            "WSTAR_TLS_CA": "ca.pem",
            "WSTAR_TLS_CERTIFICATE": str(own),
            "WSTAR_TLS_KEY": str(own_key),
            "WSTAR_TOKEN_FILE": "token",
            "WSTAR_TIMEOUT_S": "5",
        }
        assert run(tmp_path, "wstar info", **variables).returncode == 0
        for options, code, said in (
            (f"{tls}", 1, "token"),
            (f"{tls} --token-file other", 1, "token"),
            (f"{tls} --token-file empty", 2, "allowed: a file that is not empty"),
            (f"{tls} --token-file 'two words'", 2, "allowed: printable ASCII without spaces"),
            (f"{tls} --token-file missing", 2, "missing: No such file"),
            ("--tls-ca ca.pem --token-file token", 1, "UNAVAILABLE"),
            ("--tls --token-file token", 1, "UNAVAILABLE"),
            ("--tls-ca token", 2, "tls.ca: found"),
            (f"--tls-ca ca.pem --tls-key {own_key}", 2, "tls.certificate"),
        ):
            done = run(tmp_path, f"{info} {options}")
            assert (done.returncode, done.stdout) == (code, ""), options
            assert said in done.stderr
            assert TOKEN not in done.stderr
            assert "secret words" not in done.stderr
            assert "Traceback" not in done.stderr
        assert run(tmp_path, "wstar info --no-tls", **variables).returncode == 1


def test_help_comes_at_once_and_loads_nothing_of_the_extras() -> None:
    code = """
import sys
from wstar.cli import main
try:
    main(["embed", "--help"])
except SystemExit:
    print(*sorted({"rich", "pyarrow", "sklearn", "scipy", "wstar.commands"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
