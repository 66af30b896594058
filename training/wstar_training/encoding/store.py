"""The output folder while it is written: `codes.npy` row by row, and the journal that vouches.

Rows are written, not mapped: written pages never count as this process's memory, and a full disk
is an error instead of a signal.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from wstar.errors import CheckpointError
from wstar.graphs import W_DIM
from wstar_training.encoding import journal
from wstar_training.encoding.durable import sync_folder
from wstar_training.encoding.journal import Done, Plan
from wstar_training.encoding.manifest import CODES, JOURNAL, MANIFEST, write_manifest

_LOCK = ".lock"


class CodeStore:
    """Codes of a plan's pictures, batch by batch; what is added stays, whatever happens next.

    Made by `opened`. plan: what is encoded. batches, rows: finished so far. skipped: file name to
    reason. complete: whether `finish` has been reached, now or in an earlier run.
    """

    def __init__(
        self, folder: Path, plan: Plan, done: Done, codes: BinaryIO, lines: BinaryIO
    ) -> None:
        self.plan = plan
        self.batches = done.batches
        self.rows = done.rows
        self.skipped = dict(done.skipped)
        self.complete = False
        self._folder = folder
        self._codes = codes
        self._lines = lines

    def add(self, w: NDArray[np.float32], skipped: dict[str, str]) -> None:
        """Add the next batch; when this returns it is on the disk.

        Parameters
        ----------
        w: float32 (N, n, 512), codes in the order of the plan's pictures; N may be 0.
        skipped: those of the batch without a code: file name to reason.
        """
        _write(self._codes, _offset(self.rows, self.plan.n_latent), w.astype("<f4").tobytes())
        rows = self.rows + len(w)
        self._lines.write(journal.line(rows, skipped))
        _sync(self._lines)
        self.batches += 1
        self.rows = rows
        self.skipped.update(skipped)

    def finish(self) -> None:
        """Cut `codes.npy` to the rows that it has and write the manifest.

        Raises
        ------
        CheckpointError: there is not one code.
        """
        if self.rows == 0:
            first = "".join(f"; {name}: {why}" for name, why in list(self.skipped.items())[:1])
            raise CheckpointError(f"none of {len(self.plan.pictures)} pictures has a code{first}")
        self._codes.truncate(_offset(self.rows, self.plan.n_latent))
        _write(self._codes, 0, _header(self.rows, self.plan.n_latent))
        write_manifest(self._folder, self.plan, self.skipped)
        self.complete = True


@contextmanager
def opened(folder: Path, plan: Plan) -> Iterator[CodeStore]:
    """Open a folder to write codes into, or to go on; it is made if it does not exist.

    A folder without a single code is begun anew.

    Raises
    ------
    CheckpointError: another process is writing there, the folder holds other codes, or its own
    are gone.
    InvalidInput: it was begun with another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        plan, done = _resumed(folder, plan)
        complete = (folder / MANIFEST).exists()
        _check_size(folder / CODES, _offset(done.rows, plan.n_latent), bool(done.rows), complete)
        if not complete:
            _prepare(folder / CODES, plan, done)
        with (folder / CODES).open("r+b") as codes, (folder / JOURNAL).open("r+b") as lines:
            lines.truncate(done.size_bytes)
            lines.seek(done.size_bytes)
            store = CodeStore(folder, plan, done, codes, lines)
            store.complete = complete
            yield store


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the lock ends with the process, however that ends."""
    with (folder / _LOCK).open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(f"{folder}: another process is writing into it") from None
        yield


def _resumed(folder: Path, plan: Plan) -> tuple[Plan, Done]:
    """The plan to go on with and what of it is done."""
    path = folder / JOURNAL
    if path.exists():
        begun, done = journal.recall(path)
        if done.rows:
            journal.refuse_change(begun, plan, folder.name)
            return begun, done
    elif (folder / CODES).exists() or (folder / MANIFEST).exists():
        raise CheckpointError(f"{folder}: holds codes without their {JOURNAL}; choose another")
    journal.begin(path, plan)
    return journal.recall(path)


def _check_size(path: Path, wanted: int, begun: bool, complete: bool) -> None:
    """Refuse codes of which some are gone; complete ones have no room for more either."""
    found = path.stat().st_size if path.exists() else 0
    if begun and (found < wanted or (complete and found > wanted)):
        more = "" if complete else " or more"
        raise CheckpointError(
            f"{path}: expected {wanted} bytes{more}, found {found}; remove the folder, start anew"
        )


def _prepare(path: Path, plan: Plan, done: Done) -> None:
    """Give `codes.npy` a row per picture; rows of the journal keep what they hold."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(_offset(done.rows, plan.n_latent))
        file.truncate(_offset(len(plan.pictures), plan.n_latent))
        _write(file, 0, _header(len(plan.pictures), plan.n_latent))
    sync_folder(path.parent)


def _header(rows: int, n_latent: int) -> bytes:
    """A .npy header; NumPy leaves room for `rows` to change without changing its length."""
    header = io.BytesIO()
    content = {"descr": "<f4", "fortran_order": False, "shape": (rows, n_latent, W_DIM)}
    np.lib.format.write_array_header_1_0(header, content)
    return header.getvalue()


def _offset(row: int, n_latent: int) -> int:
    """Where a row begins, in bytes."""
    return len(_header(0, n_latent)) + row * n_latent * W_DIM * 4


def _write(file: BinaryIO, offset: int, data: bytes) -> None:
    file.seek(offset)
    file.write(data)
    _sync(file)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
