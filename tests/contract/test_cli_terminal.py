"""What a terminal shows: real pseudo-terminals of two widths, with and without rich."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("rich", reason="rich is not installed (extra: cli)")

if TYPE_CHECKING:
    from tests.contract.conftest import Canned

COMMAND = "import sys; from wstar.cli import main; sys.exit(main())"
WITHOUT_RICH = f"import sys; sys.modules['rich'] = None; {COMMAND}"
# Of the terminal that the tests run in.
_OF_THIS_TERMINAL = {"NO_COLOR", "COLUMNS", "LINES"}
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def shown(
    canned: Canned,
    *arguments: object,
    columns: int = 80,
    code: str = COMMAND,
    stdout: int | None = None,
    **variables: str,
) -> str:
    """Run the command in a terminal and return what it wrote there; `stdout` may go elsewhere."""
    above, below = pty.openpty()
    fcntl.ioctl(below, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environment = {
        **{name: value for name, value in os.environ.items() if name not in _OF_THIS_TERMINAL},
        **{"TERM": "xterm-256color", "WSTAR_SERVER": canned.target, **variables},
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=below,
        stdout=below if stdout is None else stdout,
        stderr=below,
        env=environment,
    )
    os.close(below)
    found = b""
    try:
        while data := os.read(above, 65536):
            found += data
    except OSError as error:
        # How Linux says that nobody writes any more.
        assert error.errno == errno.EIO
    os.close(above)
    assert process.wait(20) == 0, found
    return found.decode().replace("\r\n", "\n")


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    """Twelve faces with long names."""
    folder = tmp_path / "faces"
    folder.mkdir()
    paths = [folder / f"portrait-number-{i:02}.png" for i in range(12)]
    for length, path in enumerate(paths, start=1):
        path.write_bytes(b"x" * length)
    return paths


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_that_is_too_wide_is_cut_between_columns(
    canned: Canned, many: list[Path], columns: int
) -> None:
    text = STYLE.sub("", shown(canned, "distance", *many, columns=columns))
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    heads = [line for line in lines if "squared distance" in line]
    # Every part has the names of its rows, and every face is one column of one part.
    assert len(heads) == {80: 6, 120: 4}[columns]
    rows = [line for line in lines if line.startswith("│ portrait-number-07.png │")]
    assert len(rows) == len(heads)
    for path in many:
        assert sum(path.name in head for head in heads) == 1


def test_rules_in_a_terminal_and_colour_unless_it_is_unwanted(
    canned: Canned, many: list[Path]
) -> None:
    text = shown(canned, "classify", many[0])
    assert "╭" in text
    assert "\x1b[36m" in text
    plain = shown(canned, "classify", many[0], NO_COLOR="1")
    assert "╭" in plain
    # Bold is no colour.
    assert set(STYLE.findall(plain)) <= {"\x1b[1m", "\x1b[0m"}
    assert STYLE.sub("", plain) == STYLE.sub("", text)


@pytest.mark.parametrize(
    ("code", "term"), [(WITHOUT_RICH, "xterm-256color"), (COMMAND, "dumb")], ids=["no rich", "dumb"]
)
def test_without_rich_and_on_a_simple_terminal_it_is_the_text_of_a_pipe(
    canned: Canned, many: list[Path], code: str, term: str
) -> None:
    text = shown(canned, "classify", *many[:2], code=code, TERM=term)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "classify", *map(str, many[:2])],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "WSTAR_SERVER": canned.target},
    )
    assert text == done.stdout
    assert text.splitlines()[0] == "probability  portrait-number-00.png  portrait-number-01.png"


def test_progress_is_shown_in_a_terminal_and_not_in_the_output(
    canned: Canned, many: list[Path], tmp_path: Path
) -> None:
    many[3].write_bytes(b"bad")
    with (tmp_path / "out").open("wb") as out:
        text = shown(
            canned,
            *("embed", many[0].parent, "--output", tmp_path / "codes.npz"),
            code="import sys; from wstar.cli import main; sys.exit(main() - 2)",
            stdout=out.fileno(),
        )
    assert "12/12" in text
    # Above the bar, on a line of its own.
    line = next(line for line in STYLE.sub("", text).splitlines() if "skipped" in line)
    assert line.strip("\r").removeprefix("\x1b[2K").startswith("wstar: skipped")
    written = (tmp_path / "out").read_text()
    assert written.count("\n") == 1
    assert "1 of 12 faces skipped" in written


def test_json_is_json_in_a_terminal_too(canned: Canned, many: list[Path]) -> None:
    assert shown(canned, "classify", many[0], "--json").startswith('{"names": [')
