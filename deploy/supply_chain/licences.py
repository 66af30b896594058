"""Licences of every pinned package, from their metadata: `python -m deploy.supply_chain.licences`.

Run it where everything is installed (`make test` does that).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.supply_chain.packages import (
    PROJECT,
    ROOT,
    Package,
    image_packages,
    pinned_package,
    pins,
)

FILE = Path(__file__).with_name("licences.md")
# Strong or weak, each asks something of whoever passes the package on.
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL)\b|General Public|Mozilla Public", re.I)
CLOSED = re.compile(r"proprietary", re.I)
# Libraries of GCC that wheels carry, as numpy's own licence file names them.
LIBRARIES: Mapping[str, str] = {
    "libgfortran": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libgomp": "GPL-3.0-or-later WITH GCC-exception-3.1",
    "libquadmath": "LGPL-2.1-or-later",
}
UNREAD = "not read: not installed where this was made"
_HEAD = """# Licences

Made by `python -m deploy.supply_chain.licences` from what the packages of `constraints.txt` say of
themselves; nobody has checked their words. What the image's base system holds (Debian, Python) and
NVIDIA's containers are not in it: their makers list that.
"""


def text() -> str:
    """Write the document."""
    image = {name: each for name, each in image_packages().items() if name != PROJECT}
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    rest = {
        name: pinned_package(name, version)
        for name, version in sorted(pinned.items())
        if name not in image
    }
    inside = [
        f"| {library} | {', '.join(holders)} | {LIBRARIES[library]} | **copyleft** |"
        for library in sorted(LIBRARIES)
        if (holders := [each.name for each in image.values() if library in each.libraries])
    ]
    parts = [
        _HEAD,
        f"## In the image of the service: {len(image)} packages\n",
        _table(image),
        "\n## Libraries of others inside these wheels\n",
        "Of those that the wheels of the table above carry for linking, these are copyleft. They "
        "are\nseparate files that can be replaced, and the exception of GCC lets programs of any "
        "licence\nlink to those that have it.\n",
        "| library | in | licence | |\n|---|---|---|---|",
        *inside,
        f"\n## For training, export, tests and the command's extras: {len(rest)} packages\n",
        _table(rest),
    ]
    return "\n".join(parts) + "\n"


def flag(licence: str | None) -> str:
    """Say of a licence whether it asks for care."""
    if licence is None:
        return ""
    if COPYLEFT.search(licence):
        return "**copyleft**"
    return "**closed**" if CLOSED.search(licence) else ""


def main() -> int:
    """Write the file; exit code 0."""
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)
    return 0


def _table(found: Mapping[str, Package]) -> str:
    lines = ["| package | version | licence | |", "|---|---|---|---|"]
    for each in found.values():
        lines.append(
            f"| {each.name} | {each.version} | {each.licence or UNREAD} | {flag(each.licence)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
