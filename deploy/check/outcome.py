"""What a step found, and the tools that steps run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


@dataclass
class Outcome:
    """What came of one step.

    checked: what was looked at, in a few words, for the table.
    faults: one line each; none is good.
    missing: the tool or file without which the step could not run, and how to get it.
    """

    checked: str = ""
    faults: list[str] = field(default_factory=list)
    missing: str = ""

    @property
    def word(self) -> str:
        """The step in a word."""
        return "NOT RUN" if self.missing else "FAILED" if self.faults else "ok"


class Missing(Exception):
    """A tool is not on this machine; the text says how it gets there."""


def tool(name: str, how: str) -> str:
    """Path of a tool, first of those beside this Python; raises Missing."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not on this machine: {how}")
    return found


def run(*command: str | Path, within: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool and take what it writes."""
    return subprocess.run(command, cwd=within, capture_output=True, text=True, check=False)


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a tool that failed had to say; nothing if it did not fail."""
    if done.returncode == 0:
        return []
    said = (done.stdout + done.stderr).strip().splitlines()
    return said or [f"{done.args[0]} ended with exit code {done.returncode}"]


def name_of(path: Path) -> str:
    """A path as people write it."""
    return path.relative_to(ROOT).as_posix()


def counted(things: Sequence[object], word: str) -> str:
    """`3 files`."""
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
