"""How far activations reach: half precision ends at 65504."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

LARGEST_HALF = 65504.0
_PICTURES = 3


class _Largest(TorchDispatchMode):
    """Notes the largest magnitude that any operation makes of pictures."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.value = 0.0
        self.operation = ""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation returns
        """Run the operation and look at what it made."""
        result = func(*args, **(kwargs or {}))
        # Styles and energies have two axes and stay in fp32.
        if isinstance(result, Tensor) and result.is_floating_point() and result.dim() >= _PICTURES:
            found = float(result.abs().max())
            # A NaN is never the smaller one.
            if not found <= self.value:
                self.value, self.operation = found, str(func)
        return result


@torch.no_grad()
def largest_activation(module: nn.Module, inputs: Sequence[Tensor]) -> tuple[float, str]:
    """The largest magnitude inside a module, and the operation that made it.

    Only tensors of three axes and more count: features, pictures and weights of convolutions.

    Parameters
    ----------
    inputs: one tensor per input, at least 2 items: single pictures may take another way through.
    """
    with _Largest() as seen:
        module(*inputs)
    return seen.value, seen.operation
