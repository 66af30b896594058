"""Training of one T by several processes: `torchrun` starts them, each takes its share of a batch.

The distance loss counts all pairs of the whole batch, so every process computes it from the codes
of all of them; what T costs, and what G and F cost, is shared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from wstar.errors import InvalidInput

# The others wait while the first makes features: hours. A process that died is no reason to wait:
# torchrun ends them all.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Group:
    """The processes that train together, and this one among them.

    rank, size: which one this is, and of how many. device: where its tensors lie.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def first(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """Rows, for this process, of a batch (B, ...) that all of them hold: (B/size, ...)."""
        return batch.tensor_split(self.size)[self.rank]

    def gather(self, share: Tensor) -> Tensor:
        """The batch (B, ...) of which each process computed its share, with gradients.

        Every process must go on to compute the same loss from it; gradients of the weights are
        then averaged over the processes, as DistributedDataParallel does.
        """
        if self.size == 1:
            return share
        whole: Tensor = _Gather.apply(share, self)  # type: ignore[no-untyped-call]
        return whole

    def mean(self, values: Sequence[float | Tensor]) -> list[float]:
        """Means of numbers over the processes: the same on all of them."""
        numbers = torch.stack(
            [torch.as_tensor(v, device=self.device).detach().double() for v in values]
        )
        if self.size > 1:
            dist.all_reduce(numbers)
            numbers /= self.size
        return cast(list[float], numbers.tolist())

    def agreed(self, value: Any) -> Any:  # noqa: ANN401
        """What the first process says."""
        if self.size == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said, device=self.device)
        return said[0]

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def parallel(self, module: nn.Module) -> nn.Module:
        """A module whose gradients are averaged over the processes."""
        if self.size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        # Buffers never change while T trains.
        return DistributedDataParallel(module, devices, forward_sync_buffers=False)


ALONE = Group()


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """The group that `torchrun` put this process in; without it, this process alone.

    Parameters
    ----------
    device: "cpu" or "cuda"; of several GPUs each process of a machine takes its own.

    Raises
    ------
    InvalidInput: there is no such device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    place = _device(device)
    if size == 1:
        yield Group(device=place)
        return
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Group(dist.get_rank(), size, place)
    finally:
        dist.destroy_process_group()


def _device(name: str) -> torch.device:
    if name == "cpu":
        return torch.device("cpu")
    count, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
    if local >= count:
        raise InvalidInput("device", name, f"a machine of {local + 1} GPUs; torch sees {count}")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


class _Gather(torch.autograd.Function):
    """Shares to the whole; nothing is sent backwards, as all processes know the same gradient."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, group: Group) -> Tensor:  # noqa: ANN401
        ctx.group = group
        shares = [torch.empty_like(share) for _ in range(group.size)]
        dist.all_gather(shares, share.contiguous())
        return torch.cat(shares)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        # Times the number of processes, because averaging over them divides by it.
        return ctx.group.share(gradient) * ctx.group.size, None
