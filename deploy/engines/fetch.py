"""Puts the repository of this image into a volume, whole or not at all.

python3 -m deploy.engines.fetch FROM ROOT: ROOT/onnx becomes a copy of FROM, if it is none yet.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from deploy.engines.key import CHECKSUMS_FILE, whole


def fetch(source: Path, root: Path) -> bool:
    """Copy, compare every checksum, then take the old one's place; False if nothing was to do."""
    target, work, old = root / "onnx", root / ".onnx", root / ".onnx-old"
    wanted = (source / CHECKSUMS_FILE).read_bytes()
    if target.is_dir() and (target / CHECKSUMS_FILE).read_bytes() == wanted and whole(target):
        return False
    for left in (work, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(source, work, copy_function=shutil.copyfile)
    if not whole(work):
        raise SystemExit(f"{source}: not the files that {CHECKSUMS_FILE} lists")
    if target.exists():
        # A Triton that runs has read its graphs; one that starts meanwhile waits.
        os.rename(target, old)
    os.rename(work, target)
    shutil.rmtree(old, ignore_errors=True)
    return True


if __name__ == "__main__":
    print("copied" if fetch(Path(sys.argv[1]), Path(sys.argv[2])) else "it is there already")
