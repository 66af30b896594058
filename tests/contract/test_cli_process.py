"""The command itself: its arguments, its help, and how its process ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wstar import __version__
from wstar.arguments import SERVER_VARIABLE, parser
from wstar.cli import main
from wstar.tables import table

if TYPE_CHECKING:
    from tests.contract.conftest import Canned


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["info", "--server", "nowhere"],
        ["info", "--server", "127.0.0.1:0"],
        ["info", "--server", "127.0.0.1:65536"],
        ["info", "--server", "127.0.0.1:99999"],
        ["info", "--server", "two words:1"],
        ["info", "--timeout-s", "0"],
        ["info", "--timeout-s", "nan"],
        ["edit", "a.png"],
        ["edit", "a.png", "--output", "b.png", "--set", "Smiling"],
        ["edit", "a.png", "--output", "b.png", "--set", "Smiling=much"],
        ["embed", "a.png", "--output", "b.npz", "--space", "W"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_the_server_is_the_flag_then_the_variable_then_this_machine() -> None:
    def server(environ: dict[str, str], *arguments: str) -> str:
        return str(parser(environ).parse_args(["info", *arguments]).server)

    assert server({}) == "127.0.0.1:50051"
    assert server({SERVER_VARIABLE: "a:1"}) == "a:1"
    assert server({SERVER_VARIABLE: "a:1"}, "--server", "b:2") == "b:2"
    with pytest.raises(SystemExit):
        server({SERVER_VARIABLE: "nowhere"})


def test_help_states_units_defaults_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["edit", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    parts = ("0 to 1", "SECONDS", "default: 60", "default: W_STAR_ID", "exit codes:")
    for part in (*parts, "(.npz or .parquet) with one code"):
        assert part in text
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"wstar {__version__}\n"


def command(canned: Canned, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "wstar.cli", *arguments, "--server", canned.target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_ctrl_c_ends_a_waiting_command_cleanly(canned: Canned, faces: list[Path]) -> None:
    canned.gate.clear()
    process = command(canned, "classify", str(faces[0]))
    deadline = time.monotonic() + 20
    while not canned.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, b"", b"wstar: interrupted\n")


def test_a_reader_that_leaves_is_no_error(canned: Canned) -> None:
    process = command(canned, "info")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(20) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_tables_are_aligned() -> None:
    text = table(["name", "value"], [["a", "1"], ["longer", "10.5"]])
    assert text.splitlines() == [
        "name    value",
        "------  -----",
        "a           1",
        "longer   10.5",
    ]
