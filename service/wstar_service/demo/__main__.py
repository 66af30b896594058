"""`python -m wstar_service.demo`: run the demo and write its pictures and page."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from wstar.client import Client
from wstar.errors import InvalidInput, WstarError
from wstar.files import write_file
from wstar.tables import table
from wstar_service.demo import findings
from wstar_service.demo.gallery import (
    embed_samples,
    embed_yours,
    nearest,
    read_pictures,
)
from wstar_service.demo.page import page
from wstar_service.demo.process import ServerFailed, ServerProcess
from wstar_service.demo.sheets import edits_sheet, neighbours_sheet
from wstar_service.demo.strips import edit_all

QUERIES = 6


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when everything was written, 1 on failure, 130 when interrupted."""
    arguments = _parser().parse_args(argv)
    # A plain SIGTERM would end this process without stopping the server.
    signal.signal(signal.SIGTERM, _terminated)
    try:
        _run(arguments.repository, arguments.samples, arguments.pictures, arguments.output)
    except (ServerFailed, WstarError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted, server stopped", file=sys.stderr)
        return 130
    return 0


def _run(repository: Path, samples: Path, pictures: Path | None, output: Path) -> None:
    sample_files = [file for file in read_pictures(samples) if file[0].endswith(".png")]
    if len(sample_files) < 2:
        raise InvalidInput("--samples", str(samples), "a folder of 2 or more PNG pictures")
    your_files = read_pictures(pictures) if pictures else []
    output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    print(f"demo world: starting wstar-serve on {repository} ...", flush=True)
    with ServerProcess(repository) as server, Client(server.target) as client:
        print(f"serving at {server.target} after {time.perf_counter() - started:.1f} s")
        info = client.info()
        yours, refusals = embed_yours(client, info, your_files)
        for refusal in refusals:
            print(f"skipped {refusal}")
        portraits = yours + embed_samples(client, info, sample_files)
        print(f"embedded {len(portraits)} faces, {len(yours)} of them yours", flush=True)
        by_w_star, by_w_plus = (nearest(portraits, w_star=w_star) for w_star in (True, False))
        queries = range(min(QUERIES, len(portraits)))
        strips = edit_all(client, portraits)
        found = [
            findings.attributes(portraits),
            findings.distances(client, portraits),
            findings.neighbours(portraits, queries, by_w_star, by_w_plus),
            findings.edits(strips),
        ]
    for finding in found:
        print(f"\n{finding.title}\n\n{table(finding.header, finding.rows)}\n\n{finding.seen}")
    edits_png = edits_sheet(strips)
    neighbours_png = neighbours_sheet(portraits, queries, by_w_star, by_w_plus)
    files = {
        "edits.png": edits_png,
        "neighbours.png": neighbours_png,
        "index.html": page(info, edits_png, neighbours_png, found),
    }
    for name, data in files.items():
        write_file(output / name, data)
    print(f"\nwrote {', '.join(str(output / name) for name in files)}")
    print(f"server stopped; done in {time.perf_counter() - started:.1f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m wstar_service.demo",
        description="Send sample faces through a server and show what it answers (demo world).",
    )
    parser.add_argument(
        "--repository",
        type=Path,
        metavar="DIR",
        default=Path("model_repository/demo"),
        help="folder of graphs to serve (default: %(default)s)",
    )
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="DIR",
        default=Path(__file__).parent / "pictures",
        help="PNG pictures of faces (default: those of the package)",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="your own pictures of aligned faces, shown first (default: none)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path("demo-output"),
        help="folder for edits.png, neighbours.png and index.html (default: %(default)s)",
    )
    return parser


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
