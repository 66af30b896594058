"""What a Dockerfile says, and what a build may copy: as much of both as this project writes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("Dockerfile", "Dockerfile.triton", "Dockerfile.export")


@dataclass
class Stage:
    """One `FROM` and what follows: instructions in order, as name and text."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def texts(self, name: str) -> list[str]:
        """What follows an instruction, each time it is there."""
        return [text for found, text in self.instructions if found == name]

    def command(self, name: str) -> list[str]:
        """The last ENTRYPOINT or HEALTHCHECK CMD, as a list."""
        text = self.texts(name)[-1]
        made: list[str] = json.loads(text[text.index("[") :])
        return made

    @property
    def environment(self) -> dict[str, str]:
        """All of ENV."""
        pairs = [pair for text in self.texts("ENV") for pair in shlex.split(text)]
        return dict(pair.split("=", 1) for pair in pairs)

    def environment_of_settings(self) -> dict[str, str]:
        """Those variables of ENV that the service reads."""
        return {key: value for key, value in self.environment.items() if key.startswith("WSTAR_")}

    @property
    def copied(self) -> list[tuple[list[str], str]]:
        """Sources out of the build's folder, and where they go."""
        words = [shlex.split(text) for text in self.texts("COPY")]
        return [(each[:-1], each[-1]) for each in words if not each[0].startswith("--from")]


def stages(name: str) -> list[Stage]:
    """Read a Dockerfile; ARG defaults are put in where they are used."""
    text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    defaults: dict[str, str] = {}
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        instruction, _, rest = line.partition(" ")
        if not instruction:
            continue
        if instruction == "ARG":
            key, _, value = rest.partition("=")
            defaults[key] = value
            continue
        for key, value in defaults.items():
            rest = rest.replace(f"${{{key}}}", value)
        if instruction == "FROM":
            base, _, alias = rest.partition(" AS ")
            found.append(Stage(base, alias))
        else:
            found[-1].instructions.append((instruction, rest))
    return found


def stage(name: str, alias: str) -> Stage:
    """One stage by its name."""
    (found,) = (each for each in stages(name) if each.name == alias)
    return found


def sent(source: str) -> Iterator[Path]:
    """Files of a COPY's source that `.dockerignore` lets a build see."""
    path = ROOT / source
    for each in [path] if path.is_file() else path.rglob("*"):
        if each.is_file() and not _ignored(each.relative_to(ROOT)):
            yield each


def _ignored(path: Path) -> bool:
    """The last pattern that fits a path or a folder above it decides."""
    ignored = False
    names = [path.as_posix(), *(above.as_posix() for above in path.parents if above.name)]
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?")
            whole = re.compile(pattern.replace(r"\*", "[^/]*"))
            if any(whole.fullmatch(name) for name in names):
                ignored = not line.startswith("!")
    return ignored
