"""Run a command and note how long it took and how much memory it and its children held at most."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path


def main(table: Path, name: str, command: list[str]) -> int:
    """Append {stage, seconds, peak_mib} to a file of JSON lines; the command's exit code."""
    print(f"== {name}: {' '.join(command)}", flush=True)
    started = time.monotonic()
    code = subprocess.run(command, check=False).returncode
    seconds = time.monotonic() - started
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    line = {"stage": name, "seconds": round(seconds, 1), "peak_mib": round(peak_mib)}
    with table.open("a") as file:
        file.write(json.dumps(line) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
