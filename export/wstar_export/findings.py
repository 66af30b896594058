"""Measured figures and what they may be at most.

Errors of codes and logits are largest absolute differences over the standard deviation of the
output. That is taken over real faces with the mean of each number taken off, so that a large
mean code hides no error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wstar.errors import ContractMismatch
from wstar_export.tolerances import Bounds, Precision

Array = NDArray[np.float32] | NDArray[np.uint8]


@dataclass(frozen=True)
class Finding:
    """One measured figure of a graph, the largest value that it may have, and its precision."""

    graph: str
    name: str
    value: float
    bound: float
    precision: str = Precision.FP32.value

    @property
    def passed(self) -> bool:
        """Whether the figure is within its bound; a NaN is not."""
        return self.value <= self.bound


def refuse(findings: Iterable[Finding]) -> None:
    """Raise ContractMismatch for the first figure out of bounds."""
    for finding in findings:
        if not finding.passed:
            raise ContractMismatch(
                finding.graph, finding.name, f"at most {finding.bound:g}", f"{finding.value:.3g}"
            )


def deviation(output: Array) -> float:
    """Standard deviation of (N, ...) numbers, N above 1, each around its own mean over N."""
    centred = output - output.mean(0, dtype=np.float64)
    return float(np.sqrt(np.square(centred).mean()))


def error_of(wanted: Array, got: Array, std: float) -> float:
    """Largest absolute difference over `std`; 0 where nothing differs, even if std is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.abs(np.subtract(wanted, got, dtype=np.float64)).max()
        return float(np.where(largest == 0.0, 0.0, largest / np.float64(std)))


def picture_findings(
    graph: str, name: str, wanted: Array, got: Array, precision: Precision, bounds: Bounds
) -> Sequence[Finding]:
    """Largest difference of a colour, and the share of colours that differ; uint8 pictures."""
    levels = np.abs(np.subtract(wanted, got, dtype=np.int16))
    largest, changed = float(levels.max()), float((levels > 0).mean())
    return (
        Finding(graph, f"{name}_levels", largest, bounds.levels, precision.value),
        Finding(graph, f"{name}_changed_bytes", changed, bounds.changed, precision.value),
    )
