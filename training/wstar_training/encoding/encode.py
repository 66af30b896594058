"""Pictures through the encoder into a store, batch by batch, read ahead of it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wstar.errors import CheckpointError
from wstar.graphs import W_DIM
from wstar.images import RGB
from wstar_training.encoding.pictures import Picture, Unreadable
from wstar_training.encoding.store import CodeStore

Read = Callable[[Picture], RGB]


class Encoder(Protocol):
    """A network in evaluation mode: pictures in, absolute W+ codes out."""

    @property
    def side(self) -> int:
        """S, px."""

    @property
    def n_latent(self) -> int:
        """The rows n of a code."""

    def __call__(self, pictures: Tensor, /) -> Tensor:
        """Map float32 (N, 3, S, S) in [-1, 1] to (N, n, 512)."""

    def to(self, device: str, /) -> Self:
        """Move it to a device."""


NOT_FINITE = "its code is not finite"

_MAX_READERS = 8
_BATCHES_AHEAD = 2
# From a sound encoder not one code in millions fails; so many and no other mean a broken one.
_HOPELESS = 32


def encode(
    encoder: Encoder, read: Read, store: CodeStore, progress: Callable[[int, int], None]
) -> None:
    """Encode what a store's plan still lacks, and finish it.

    A batch is the same pictures whether or not a run was interrupted, so its codes are the same
    bytes. At most three batches are in memory, however many pictures there are.

    Parameters
    ----------
    encoder: float32 (N, 3, S, S) in [-1, 1] to absolute W+ codes (N, n, 512), in evaluation mode,
        on the device of the plan.
    read: gives a picture as uint8 (S, S, 3), or raises `Unreadable`; called from threads.
    store: takes the codes.
    progress: called after every batch with the pictures that are done and those of them skipped.

    Raises
    ------
    CheckpointError: codes of another shape, none that is finite, or no picture that has a code.
    """
    plan, hopeless = store.plan, 0
    starts = range(store.batches * plan.batch, len(plan.pictures), plan.batch)
    batches = (plan.pictures[a : a + plan.batch] for a in starts)
    for batch in _read_ahead(read, batches):
        inputs = {name: rgb for name, rgb in batch.items() if not isinstance(rgb, Unreadable)}
        w = np.zeros((0, plan.n_latent, W_DIM), np.float32)
        finite: dict[str, bool] = {}
        if inputs:
            w = _codes(encoder, list(inputs.values()), plan.n_latent, plan.device)
            finite = {
                name: bool(np.isfinite(row).all()) for name, row in zip(inputs, w, strict=True)
            }
            w = w[list(finite.values())]
            hopeless += len(inputs) - len(w)
        skipped = {
            name: str(found) if isinstance(found, Unreadable) else NOT_FINITE
            for name, found in batch.items()
            if not finite.get(name, False)
        }
        if hopeless >= _HOPELESS and store.rows + len(w) == 0:
            raise CheckpointError(
                f"{plan.encoder_file}: not one finite code in {hopeless} pictures"
            )
        store.add(w, skipped)
        progress(min(store.batches * plan.batch, len(plan.pictures)), len(store.skipped))
    if not store.complete:
        store.finish()


def _read_ahead(
    read: Read, batches: Iterator[Sequence[Picture]]
) -> Iterator[dict[str, RGB | Unreadable]]:
    """Read batches in a few threads while the caller works on earlier ones, in their order."""
    pool = ThreadPoolExecutor(min(_MAX_READERS, os.cpu_count() or 1), "reader")
    waiting: deque[dict[str, Future[RGB | Unreadable]]] = deque()
    try:
        for batch in batches:
            waiting.append({p.name: pool.submit(_read, read, p) for p in batch})
            if len(waiting) > _BATCHES_AHEAD:
                yield {name: future.result() for name, future in waiting.popleft().items()}
        while waiting:
            yield {name: future.result() for name, future in waiting.popleft().items()}
    finally:
        pool.shutdown(cancel_futures=True)


def _read(read: Read, picture: Picture) -> RGB | Unreadable:
    try:
        return read(picture)
    except Unreadable as why:
        return why


@torch.inference_mode()
def _codes(
    encoder: Encoder, inputs: Sequence[RGB], n_latent: int, device: str
) -> NDArray[np.float32]:
    """Codes float32 (N, n, 512) of N inputs uint8 (S, S, 3)."""
    pixels = torch.from_numpy(np.stack(inputs)).to(device)
    w: Tensor = encoder(pixels.permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1.0)
    wanted = (len(inputs), n_latent, W_DIM)
    if w.shape != wanted:
        raise CheckpointError(f"encoder: expected codes {wanted}, found {tuple(w.shape)}")
    codes: NDArray[np.float32] = w.float().cpu().numpy()
    return codes
