"""Start a server on a repository, edit one picture through it with the client, stop it."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from wstar.attributes import ATTRIBUTES
from wstar.client import Client
from wstar.errors import InvalidInput
from wstar.files import write_file
from wstar.replies import Edit
from wstar_service.demo.process import ServerProcess

TIMEOUT_S = 300.0


def edited(client: Client, picture: bytes) -> tuple[str, Edit]:
    """Move the first attribute that these few faces tell apart to 0.9, the face itself beside."""
    for name in ATTRIBUTES:
        try:
            return name, client.edit(picture, {name: 0.9}, strengths=(0.0, 1.0))
        except InvalidInput as error:
            print(f"{name}: {error}")
    raise SystemExit("no attribute can be edited")


def main(repository: Path, picture: Path, output: Path) -> None:
    """Edit, check that both pictures are whole and that they differ, and write them."""
    with ServerProcess(repository) as server, Client(server.target, timeout_s=TIMEOUT_S) as client:
        info = client.info()
        name, edit = edited(client, picture.read_bytes())
    before, after = (
        np.asarray(Image.open(io.BytesIO(result.picture)), np.int16) for result in edit.results
    )
    if before.shape != (info.resolution, info.resolution, 3) or (before == after).all():
        raise SystemExit(f"expected two different pictures of {info.resolution} px")
    for ending, result in zip(("before", "after"), edit.results, strict=True):
        write_file(output.with_name(f"{output.stem}-{ending}.png"), result.picture)
    changed = np.abs(after - before).mean()
    print(f"{name} to 0.9 at {info.resolution} px: levels changed by {changed:.2f} on average")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
