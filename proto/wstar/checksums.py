"""Checksums of a repository: one SHA-256 per file, in the format of `sha256sum`.

Export writes them last, whoever serves the files reads them first. `sha256sum --check SHA256SUMS`
in the repository's folder verifies them as well. Triton ignores a plain file beside its models.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from wstar.errors import ContractMismatch
from wstar.files import write_file

CHECKSUMS_FILE = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/\n][^\n]*)\n")


def write_checksums(repository: Path) -> None:
    """Write the checksum of every file of a repository, sorted by path."""
    _write(repository, {name: _sha256(path) for name, path in _files(repository).items()})


def update_checksums(repository: Path, changed: Iterable[Path]) -> None:
    """Write the checksums of files added, changed or removed; those of others stay as recorded.

    changed: paths inside `repository`.

    Raises
    ------
    ContractMismatch: the repository has no readable checksums.
    """
    sums = _recorded(repository)
    for path in changed:
        name = path.relative_to(repository).as_posix()
        sums.pop(name, None)
        if path.is_file():
            sums[name] = _sha256(path)
    _write(repository, sums)


def check_checksums(repository: Path, *, optional: str | None = None) -> None:
    """Compare every file of a repository with its recorded checksum.

    optional: a graph that may be missing, its folder and all that is in it.

    Raises
    ------
    ContractMismatch: a file is missing, not listed or changed, or there are no checksums; graph
        and tensor name the file.
    """
    recorded, found = _recorded(repository), _files(repository)
    if optional is not None and not (repository / optional).exists():
        recorded = {n: s for n, s in recorded.items() if not n.startswith(f"{optional}/")}
    for name in sorted(recorded.keys() | found.keys()):
        if name not in found:
            raise _mismatch(name, "a file", "nothing")
        if name not in recorded:
            raise _mismatch(name, f"no file that {CHECKSUMS_FILE} does not list", "one")
        digest = _sha256(found[name])
        if digest != recorded[name]:
            raise _mismatch(name, f"SHA-256 {recorded[name]}", digest)


def _mismatch(name: str, expected: str, found: object) -> ContractMismatch:
    # A file beside the graphs concerns all of them.
    graph, file = name.split("/", 1) if "/" in name else ("*", name)
    return ContractMismatch(graph, file, expected, found)


def _recorded(repository: Path) -> dict[str, str]:
    """Read path and checksum of every line; anything but what export writes is refused."""
    try:
        text = (repository / CHECKSUMS_FILE).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise _mismatch(CHECKSUMS_FILE, "a readable file", error) from error
    sums = {}
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise _mismatch(CHECKSUMS_FILE, f"a checksum and a path in line {number}", line)
        sums[match[2]] = match[1]
    return sums


def _files(repository: Path) -> dict[str, Path]:
    paths = {path.relative_to(repository).as_posix(): path for path in repository.rglob("*")}
    return {name: path for name, path in paths.items() if path.is_file() and name != CHECKSUMS_FILE}


def _write(repository: Path, sums: Mapping[str, str]) -> None:
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    write_file(repository / CHECKSUMS_FILE, text.encode())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
