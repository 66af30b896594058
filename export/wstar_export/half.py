"""Half precision for encoder and generator, by NVIDIA ModelOpt AutoCast.

Half: what is done to pictures, from the first convolution to the last, and the weights it reads.
fp32: bytes to numbers and back; styles and demodulation, whose sums of 512 squares fp16 would
round at every step; the products that make codes; pictures once they are RGB.
"""

from __future__ import annotations

import logging
import math
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from onnx import GraphProto, ModelProto

from wstar.graphs import GraphSpec
from wstar_export.external_data import read_model, take_weights, write_model
from wstar_export.folding import write_folded
from wstar_export.halves import store_halves
from wstar_export.onnx import finish
from wstar_export.tolerances import PRECISION_STAMP, Precision
from wstar_export.tools import ToolMissing

# Operations that turn styles and bytes into features.
_FIRST = {"Conv", "ConvTranspose", "Expand"}


def to_half(path: Path, spec: GraphSpec) -> None:
    """Replace the fp32 graph of encoder or generator at `path` by one in half precision.

    Raises
    ------
    ToolMissing: NVIDIA ModelOpt is not installed.
    ContractMismatch: what AutoCast made is not the graph of `spec`.
    """
    _autocast()
    original, _ = read_model(path)
    stamps = {item.key: item.value for item in original.metadata_props}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        folded, made = Path(folder) / "folded.onnx", Path(folder) / "made.onnx"
        write_folded(path, folded)
        names = in_full(read_model(folded)[0].graph)
        # It needs six times the weights' memory, and only the end of a process gives that back.
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            process.submit(_convert, folded, names, made).result()
        model, weights = read_model(made)
        store_halves(model, weights)
        finish(model, spec, {**stamps, PRECISION_STAMP: Precision.FP16.value})
        write_model(model, weights, path)


def in_full(graph: GraphProto) -> list[str]:
    """Names of the nodes that stay in fp32; nodes are in topological order, as ONNX demands."""
    names, half, after = [], set[str](), set[str]()
    for node in graph.node:
        # What makes codes out of features, and all that follows features, is in full.
        if after & set(node.input) or (node.op_type == "Gemm" and half & set(node.input)):
            names.append(node.name)
            after.update(node.output)
        elif half & set(node.input) or node.op_type in _FIRST:
            # RGB is a product of matrices: it reads features and makes a picture.
            (after if node.op_type == "MatMul" else half).update(node.output)
        else:
            names.append(node.name)
    return names


def _convert(source: Path, in_full: list[str], target: Path) -> None:
    """Write the graph at `source` with all nodes but those named in half precision."""
    model = _autocast()(
        str(source),
        low_precision_type="fp16",
        nodes_to_exclude=[f"{re.escape(name)}$" for name in in_full],
        # Ranges are measured by `activations`, on inputs of our own.
        data_max=math.inf,
        keep_io_types=True,
    )
    write_model(model, take_weights(model, source.parent), target)


def _autocast() -> Callable[..., ModelProto]:
    try:
        from modelopt.onnx.autocast import convert_to_mixed_precision
    except ImportError as error:
        raise ToolMissing(
            "NVIDIA ModelOpt", "a graph in fp16", "pip install 'wstar[export,half]'"
        ) from error
    # One line per node otherwise, and warnings of what it then repairs itself.
    for name in ("modelopt.onnx", "modelopt.onnx.autocast"):
        logging.getLogger(name).setLevel(logging.ERROR)
    convert: Callable[..., ModelProto] = convert_to_mixed_precision
    return convert
