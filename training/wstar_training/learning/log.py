"""Logs of a training: a line of JSON per validation, and the same for TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wstar.files import write_file

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TrainingLog:
    """`<name>.jsonl`, and events for TensorBoard in `tensorboard/<name>` beside it.

    Parameters
    ----------
    path: the file of lines. step: where training begins, of how many `steps`; lines of later steps
    are dropped, as a training that goes on from there writes them again.
    """

    def __init__(self, path: Path, step: int, steps: int) -> None:
        self.path = path
        self.started = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            write_file(path, b"".join(line for line in lines if _step(line) <= step))
        self.events = _events(path.parent / "tensorboard" / path.stem, step)
        if step:
            print(f"{path.stem}: on from step {step} of {steps}", file=sys.stderr, flush=True)

    def write(self, line: dict[str, float]) -> None:
        """Add the figures of a step, in the files and on stderr."""
        line = {**line, "seconds": round(time.monotonic() - self.started, 1)}
        with self.path.open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(f"{self.path.stem}:", json.dumps(line), file=sys.stderr, flush=True)
        if self.events is not None:
            for name, value in line.items():
                self.events.add_scalar(name, value, int(line["step"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.events is not None:
            self.events.close()


def _step(line: bytes) -> float:
    """The step of a line; of one that a kill cut short, after all others."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")


def _events(folder: Path, step: int) -> SummaryWriter | None:
    """A writer of events, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("tensorboard is not installed: lines of JSON only", file=sys.stderr)
        return None
    return SummaryWriter(folder, purge_step=step + 1)
