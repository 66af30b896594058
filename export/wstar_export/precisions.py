"""Which precision a graph may have, and the way to it from fp32."""

from __future__ import annotations

from pathlib import Path

from wstar.errors import InvalidInput
from wstar_export.assembly import Graph
from wstar_export.half import to_half
from wstar_export.integers import to_integers
from wstar_export.lower import judged_pictures
from wstar_export.run import Run
from wstar_export.tolerances import Precision, allowed

# Calibration stops moving after a few hundred faces.
_CALIBRATION = 256
_FLOW = (
    "fp32: T and what is read off it need all 24 bits, or codes do not find the way back "
    "(fp16 and TF32 keep 11)"
)
_BFLOAT = (
    "fp32 or fp16: bf16 keeps 8 bits of mantissa, which changed 16 % of the demo world's colours, "
    "by up to 3 levels, where fp16 changed 2 %, by 1"
)


def parse_precisions(text: str, graphs: tuple[str, ...]) -> dict[str, Precision]:
    """Read `encoder=fp16,generator=fp16`; graphs that are not named are fp32.

    graphs: the names that may be asked for. An empty text asks for nothing.

    Raises
    ------
    InvalidInput: an unknown graph, one named twice, or a precision that the graph may not have.
    """
    found: dict[str, Precision] = {}
    for part in text.split(",") if text else ():
        graph, _, name = part.partition("=")
        if graph not in graphs:
            raise InvalidInput(
                "precision", part, f"GRAPH=PRECISION, a graph of {', '.join(graphs)}"
            )
        if graph in found:
            raise InvalidInput("precision", text, f"{graph} once")
        found[graph] = checked(graph, name)
    return found


def checked(graph: str, name: str) -> Precision:
    """The precision of that name, if the graph may have it.

    Raises
    ------
    InvalidInput: it may not; the message says why.
    """
    field = f"precision of {graph}"
    if allowed(graph) == (Precision.FP32,) and name != Precision.FP32.value:
        raise InvalidInput(field, name, _FLOW)
    if name == "bf16":
        raise InvalidInput(field, name, _BFLOAT)
    for precision in allowed(graph):
        if name == precision.value:
            return precision
    raise InvalidInput(field, name, " or ".join(p.value for p in allowed(graph)))


def apply(graph: Graph, path: Path, precision: Precision, run: Run) -> None:
    """Bring the fp32 file of a graph at `path` to a precision; the file then says so itself.

    What that costs is measured by `verify.measure`, which reads the precision off the file and
    refuses it out of its bounds.

    Raises
    ------
    InvalidInput: the graph may not have this precision, or the run has too few pictures.
    ToolMissing: the precision needs a tool that is not installed.
    ContractMismatch: what the tool made is not the graph of the contract.
    """
    checked(graph.spec.name, precision.value)
    if precision is Precision.FP16:
        to_half(path, graph.spec)
    elif precision is Precision.INT8:
        judged = judged_pictures(run)
        pictures = run.pictures[len(judged) :][:_CALIBRATION]
        if not len(pictures):
            raise InvalidInput("run", f"{len(run.pictures)} pictures", "2 or more, to calibrate on")
        to_integers(path, graph.spec, pictures)
