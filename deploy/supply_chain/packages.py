"""Pinned packages: which of them the service's image holds, and what each says of its licence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from wstar import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "wstar"
# What deploy/Dockerfile installs; each of them brings `service`.
IMAGE_EXTRAS = ("tracing", "triton")
# Where the image runs: the same packages whatever machine asks.
_PLATFORM = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.14",
    "python_version": "3.11",
    "sys_platform": "linux",
}
# Words of older packages, as SPDX has them; newer ones say it in SPDX themselves.
_SPDX = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache-2.0": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "mit": "MIT",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "mpl-2.0 and mit": "MPL-2.0 AND MIT",
}
_LONGEST_NAME = 60


@dataclass(frozen=True)
class Package:
    """One line of constraints.txt and what its metadata says, if it is installed here.

    licence: in SPDX where it can be told, else the package's own words; None: not installed.
    needs: names of the pinned packages that it brings. libraries: compiled ones of others inside.
    """

    name: str
    version: str
    licence: str | None
    needs: Sequence[str] = ()
    libraries: Sequence[str] = ()

    @property
    def purl(self) -> str:
        """The package's address in a bill of materials."""
        return f"pkg:pypi/{self.name}@{self.version}"


def pins(text: str) -> dict[str, str]:
    """Read constraints.txt: versions by normalised name."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {str(canonicalize_name(name)): version for name, _, version in map(_split, lines)}


def image_packages() -> dict[str, Package]:
    """Read the packages of the service's image off their metadata; the project is one of them.

    Raises PackageNotFoundError for one that is not installed, KeyError for one without a pin.
    """
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    needs: dict[str, set[str]] = {}
    wanted: list[tuple[str, tuple[str, ...]]] = [(PROJECT, IMAGE_EXTRAS)]
    seen = set(wanted)
    while wanted:
        name, extras = wanted.pop()
        needed = _needed(name, extras)
        needs.setdefault(name, set()).update(other for other, _ in needed if other != name)
        wanted += [each for each in needed if each not in seen]
        seen.update(needed)
    project = Package(PROJECT, __version__, None, sorted(needs.pop(PROJECT)))
    others = {name: _package(name, pinned[name], sorted(needs[name])) for name in sorted(needs)}
    return {PROJECT: project, **others}


def pinned_package(name: str, version: str) -> Package:
    """Read one pinned package; without a licence where it is not installed."""
    try:
        return _package(name, version, ())
    except PackageNotFoundError:
        return Package(name, version, None)


def _split(line: str) -> tuple[str, str, str]:
    return line.partition("==")


def _package(name: str, version: str, needs: Sequence[str]) -> Package:
    installed = distribution(name)
    # A build of torch for CPUs is 2.13.0+cpu.
    if installed.version.partition("+")[0] != version:
        raise ValueError(f"{name} {installed.version} is installed, {version} is pinned")
    libraries = {
        re.sub(r"-[0-9a-f]{8}.*|\.so.*", "", file.name)
        for file in installed.files or ()
        if file.parts[0].endswith(".libs")
    }
    return Package(name, version, _licence(name), needs, sorted(libraries))


def _licence(name: str) -> str:
    told: Any = distribution(name).metadata
    expression = told.get("License-Expression")
    if expression:
        return str(expression)
    words = (told.get("License") or "").strip()
    if words.lower() in _SPDX:
        return _SPDX[words.lower()]
    titles = [
        title.rpartition(" :: ")[2]
        for title in told.get_all("Classifier", [])
        if title.startswith("License :: ")
    ]
    spoken = [_SPDX.get(title.lower(), title) for title in titles]
    # Some put the whole text where a name belongs.
    return " AND ".join(spoken) or words.partition("\n")[0][:_LONGEST_NAME] or "says nothing"


def _needed(name: str, extras: Iterable[str]) -> list[tuple[str, tuple[str, ...]]]:
    """What a package brings on the image's platform, each with the extras it asks for."""
    environments = [{**_PLATFORM, "extra": extra} for extra in ("", *extras)]
    found = []
    for line in _project_lines(extras) if name == PROJECT else distribution(name).requires or ():
        asked = Requirement(line)
        if asked.marker is None or any(map(asked.marker.evaluate, environments)):
            found.append((str(canonicalize_name(asked.name)), tuple(sorted(asked.extras))))
    return found


def _project_lines(extras: Iterable[str]) -> list[str]:
    # Not from the metadata of an installation, which may be older than the file.
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional: dict[str, list[str]] = told["optional-dependencies"]
    return [*told["dependencies"], *(line for extra in extras for line in optional[extra])]
