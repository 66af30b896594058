"""A graph whose constants are computed: what tools that look at weights want to read."""

from __future__ import annotations

from pathlib import Path

import onnx_ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript import optimizer

from wstar_export.external_data import INLINE_BYTES, data_path

_NO_LIMIT = 2**62


def write_folded(source: Path, target: Path) -> None:
    """Write the graph at `source` with weights in fp32 and nothing left to compute from them."""
    model = onnx_ir.load(source)
    optimizer.fold_constants(model, input_size_limit=_NO_LIMIT, output_size_limit=_NO_LIMIT)
    RemoveUnusedNodesPass()(model)
    # ONNX Runtime's quantizer warns of graphs that nobody prepared for it.
    model.metadata_props["onnx.quant.pre_process"] = "onnxruntime.quant"
    values = (value.const_value for value in model.graph.initializers.values())
    large = sum(value.nbytes for value in values if value is not None) > INLINE_BYTES
    onnx_ir.save(model, target, external_data=data_path(target).name if large else None)
