"""Pictures of a folder to files of codes with Ray Data: each worker runs the graphs itself.

No service takes part: `EmbeddedRunner` runs ONNX Runtime in every worker, on one CPU. Files, their
names and what is in them are those of `deploy/kubernetes/bulk`; a file that is there is left alone.

    python deploy/ray/embed.py PICTURES --repository DIR --output DIR --shards 8 --workers 2
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wstar.code_files import read_blocks, write_codes
from wstar.errors import ImageError, InvalidInput, LimitExceeded
from wstar.graphs import Space
from wstar.images import decode, encoder_input
from wstar.inputs import find_inputs, parts
from wstar_service.embedded import EmbeddedRunner
from wstar_service.faces import PictureFace
from wstar_service.golden import check_golden
from wstar_service.pipeline import Pipeline
from wstar_service.settings import Settings

FACES_AT_ONCE = 8
SOME_SKIPPED = 2
START_S = 120


class Embedder:
    """The graphs in one worker; every call embeds one shard and writes its file."""

    def __init__(self, repository: str, output: str) -> None:
        self._output = Path(output)
        self._loop = asyncio.Runner()
        self._loop.run(self._open(Path(repository)))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Take a batch of one shard; return its file, and how many faces it has and lacks."""
        (file,), (names,) = batch["file"], batch["names"]
        found = self._loop.run(self._shard(self._output / file, [str(name) for name in names]))
        facts = {"file": file, "faces": found, "skipped": len(names) - found}
        return {name: [value] for name, value in (facts | {"worker": os.getpid()}).items()}

    async def _open(self, repository: Path) -> None:
        runner = EmbeddedRunner.open(repository, threads=1)
        manifests = await runner.manifests()
        await check_golden(runner, manifests)
        self._manifest = manifests[Space.W_STAR]
        self._pipeline = Pipeline(runner, manifests)

    async def _shard(self, path: Path, names: Sequence[str]) -> int:
        if path.exists():
            held = [name for block in read_blocks(path) for name in block.names]
            if not set(held) <= set(names):
                raise InvalidInput(str(path), "other faces", "those of this shard; remove it")
            return len(held)
        faces = {name: face for name in names if (face := self._picture(name)) is not None}
        listed, codes = list(faces.values()), []
        for start in range(0, len(listed), FACES_AT_ONCE):
            some = listed[start : start + FACES_AT_ONCE]
            codes.append((await self._pipeline.embed(some, Space.W_STAR)).codes)
        if codes:
            values = np.concatenate(codes)
            write_codes(path, list(faces), values, Space.W_STAR, self._manifest.space_id)
        return len(faces)

    def _picture(self, name: str) -> PictureFace | None:
        limits = Settings()
        bounds = {"max_bytes": limits.max_image_bytes, "max_pixels": limits.max_image_pixels}
        try:
            pixels = decode(Path(name).read_bytes(), **bounds)
        except (ImageError, LimitExceeded, OSError) as error:
            print(f"skipped {name}: {error}", file=sys.stderr)
            return None
        return PictureFace(name, encoder_input(pixels, self._manifest.encoder_side))


def main(argv: Sequence[str] | None = None) -> int:
    """Embed all shards; exit code 2 if some pictures had to be skipped."""
    given = _arguments(argv)
    # Ray reports how it is used to its maker unless told not to, and is told at its import.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray.data  # type: ignore[import-not-found, unused-ignore]  # no dependency of ours

    given.output.mkdir(parents=True, exist_ok=True)
    cut = parts(find_inputs([str(given.pictures)]), given.shards)
    shards = [
        {"file": f"codes-{index}.npz", "names": [item.name for item in some]}
        for index, some in enumerate(cut)
        if some
    ]
    # One of its own on this machine, or the cluster that RAY_ADDRESS names.
    ray.init(include_dashboard=False)
    # All workers begin together: else the first one up takes the shards of the others.
    ray.data.DataContext.get_current().wait_for_min_actors_s = START_S
    found = (
        ray.data.from_items(shards, override_num_blocks=len(shards))
        .map_batches(
            Embedder,
            fn_constructor_args=(str(given.repository.resolve()), str(given.output.resolve())),
            batch_size=1,
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=given.workers),
        )
        .take_all()
    )
    ray.shutdown()
    for row in sorted(found, key=lambda row: str(row["file"])):
        print(
            f"{row['file']}: {row['faces']} faces, {row['skipped']} skipped, worker {row['worker']}"
        )
    return SOME_SKIPPED if any(row["skipped"] for row in found) else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Embed a folder of pictures with Ray Data.")
    parser.add_argument("pictures", type=Path, help="folder of aligned pictures, seen by all")
    parser.add_argument("--repository", type=Path, required=True, help="folder of graphs")
    parser.add_argument("--output", type=Path, required=True, help="folder of the files made")
    parser.add_argument("--shards", type=int, default=8, help="files to make (default: 8)")
    parser.add_argument("--workers", type=int, default=2, help="at once (default: 2), a CPU each")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
