"""The service and the bare graphs beside it, as the benchmarks of this folder compare them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from wstar.graphs import encoder, flow
from wstar.images import decode, encode, encoder_input
from wstar.space import SpaceManifest

DEMO = Path(__file__).resolve().parents[2] / "model_repository" / "demo"
_STOP_S = 60


class Bare:
    """Encoder and flow in this process, with the settings of the service and nothing around."""

    def __init__(self, repository: Path, threads: int) -> None:
        text = (repository / "flow" / "space.json").read_text(encoding="utf-8")
        self.manifest = SpaceManifest.from_json(text, "flow/space.json")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        resolution, side = self.manifest.resolution, self.manifest.encoder_side
        specs = (encoder(resolution, side), flow(self.manifest.space, resolution))
        self._encoder, self._flow = (
            onnxruntime.InferenceSession(
                repository / spec.name / "1" / "model.onnx",
                options,
                providers=["CPUExecutionProvider"],
            )
            for spec in specs
        )

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Encoder inputs uint8 (B, S, S, 3) to codes float32 (B, n, 512)."""
        w = self._encoder.run(["w"], {"image": pixels})[0]
        found: NDArray[np.float32] = self._flow.run(["w_star", "logits"], {"w": w})[0]
        return found

    def read(self, pictures: Sequence[bytes]) -> NDArray[np.uint8]:
        """Encoded pictures to encoder inputs, as the service reads them."""
        side = self.manifest.encoder_side
        return np.stack(
            [
                encoder_input(decode(data, max_bytes=2**24, max_pixels=2**24), side)
                for data in pictures
            ]
        )

    def pictures(self, count: int) -> list[bytes]:
        """The golden face as PNGs of the encoder's side, each with other noise."""
        rng = np.random.default_rng(0)
        face = self.read([self.manifest.golden.image_png])[0].astype(np.int16)
        return [
            encode(np.clip(face + rng.integers(-6, 7, face.shape), 0, 255).astype(np.uint8), "PNG")
            for _ in range(count)
        ]


@dataclass
class Served:
    """A running server."""

    address: str
    process: subprocess.Popen[bytes]


@contextmanager
def serving(
    repository: Path, threads: int, command: Sequence[str] = ("-m", "wstar_service")
) -> Iterator[Served]:
    """Start a server on a free port, with its log in a file, and stop it."""
    arguments: list[Any] = [sys.executable, *command, "--listen", "127.0.0.1:0", "--drain-s", "0"]
    arguments += ["--repository", repository, "--threads", str(threads)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        try:
            if not address:
                log.seek(0)
                raise SystemExit(f"error: the server did not start\n{log.read().decode()}")
            yield Served(address, process)
        finally:
            process.terminate()
            process.wait(_STOP_S)
