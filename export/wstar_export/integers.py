"""An encoder whose convolutions multiply 8-bit integers, calibrated on real pictures.

Weights have a scale per output channel, activations one per tensor; both are symmetric, with zero
points of 0, and biases stay in fp32: NVIDIA's parser refuses anything else.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from wstar.graphs import GraphSpec
from wstar_export.external_data import INLINE_BYTES, model_bytes, read_model, write_model
from wstar_export.folding import write_folded
from wstar_export.onnx import finish
from wstar_export.tolerances import PRECISION_STAMP, Precision

_BATCH = 8


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Pictures uint8 (N, S, S, 3), a few at a time."""

    def __init__(self, name: str, pictures: NDArray[np.uint8]) -> None:
        self._name = name
        self._parts = iter([pictures[i : i + _BATCH] for i in range(0, len(pictures), _BATCH)])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next few, None after the last."""
        part = next(self._parts, None)
        return None if part is None else {self._name: np.asarray(part)}


def to_integers(path: Path, spec: GraphSpec, pictures: NDArray[np.uint8]) -> None:
    """Replace the fp32 encoder at `path` by one in int8.

    pictures: uint8 (N, S, S, 3), real faces that the result is not judged by.

    Raises
    ------
    ContractMismatch: what the quantizer made is not the graph of `spec`.
    """
    original, _ = read_model(path)
    stamps = {item.key: item.value for item in original.metadata_props}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        folded, made = Path(folder) / "folded.onnx", Path(folder) / "made.onnx"
        write_folded(path, folded)
        quantize_static(
            str(folded),
            str(made),
            _Pictures(spec.inputs[0].name, pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            # Histograms are a little better, but keep every activation of every picture.
            calibrate_method=CalibrationMethod.MinMax,
            use_external_data_format=model_bytes(folded) > INLINE_BYTES,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                # Engines fuse what follows a convolution before they round.
                "OpTypesToExcludeOutputQuantization": ["Conv"],
            },
        )
        model, weights = read_model(made)
        finish(model, spec, {**stamps, PRECISION_STAMP: Precision.INT8.value})
        write_model(model, weights, path)
