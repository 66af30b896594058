"""One ONNX file to one serialised plan, by one sequence of calls valid on TensorRT 10.16 and 11.

The module comes as an argument: `tensorrt`, or in tests that of TensorRT for RTX, another product
with the same parser and builder interface whose plans only it can load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from wstar.errors import ContractMismatch, RunnerUnavailable
from wstar_export.profiles import Profile

_MIB = 2**20


@dataclass(frozen=True)
class Plan:
    """A serialised engine.

    layers: of the network as parsed, before the builder fuses them.
    timing_cache: what the builder has measured, for the next build; None where none was given.
    """

    data: bytes
    layers: int
    timing_cache: bytes | None


def flags(workspace_mib: int) -> dict[str, bool | int | str]:
    """What `build_plan` tells the builder, for the sidecar."""
    return {
        "strongly_typed": True,
        "tf32": False,
        "workspace_mib": workspace_mib,
        "profiling_verbosity": "DETAILED",
    }


def build_plan(
    trt: ModuleType,
    model: Path,
    profile: Profile,
    workspace_mib: int,
    timing_cache: bytes | None,
    report: Callable[[str], None],
) -> Plan:
    """Parse and build.

    Types are those of the graph, never the builder's choice. TF32 is off for every graph: T and
    its inverse need all of fp32, and the tolerance card of encoder and generator says fp32; who
    wants them faster exports them in fp16.

    Parameters
    ----------
    trt: the module that builds.
    model: `<graph>/<version>/model.onnx`; weights beside it are found by its path.
    timing_cache: of an earlier build on the same GPU with the same version, b"" to start one.
    report: gets a line for each error of the parser, with its node.

    Raises
    ------
    ContractMismatch: the parser refuses a node, or the builder the graph or its profile.
    RunnerUnavailable: TensorRT finds no driver it can work with.
    """
    graph = model.parent.parent.name
    log = error_log(trt)
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # What the bindings make of a library that finds no driver.
        raise RunnerUnavailable(f"TensorRT does not start: {log.reason()}") from error
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(model)):
        raise _refusal(graph, parser, log, report)

    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mib * _MIB)
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if timing_cache is not None:
        cache = config.create_timing_cache(timing_cache)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            report(f"{graph}: the timing cache is of another machine; starting a new one")
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    if profile:
        shapes = builder.create_optimization_profile()
        for name, shape in profile.items():
            shapes.set_shape(name, shape.min, shape.opt, shape.max)
        if config.add_optimization_profile(shapes) < 0:
            raise ContractMismatch(graph, "profile", "shapes that TensorRT accepts", log.reason())

    data = builder.build_serialized_network(network, config)
    if data is None:
        for line in log.errors:
            report(f"{graph}: {line}")
        raise ContractMismatch(graph, "engine", "a plan", log.reason())
    measured = None if timing_cache is None else bytes(config.get_timing_cache().serialize())
    return Plan(bytes(data), network.num_layers, measured)


def _network_flags(trt: ModuleType) -> int:
    """Types come from the graph: on request in 10, always in 11, which may drop the flag."""
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if typed is None else 1 << int(typed)


def _refusal(
    graph: str,
    parser: Any,  # noqa: ANN401 (its class is known when `trt` is, as that of `log`)
    log: Any,  # noqa: ANN401
    report: Callable[[str], None],
) -> ContractMismatch:
    """Report every error of the parser and make the first one the refusal."""
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    found = [(f"node {e.node()} {e.node_name()!r} ({e.node_operator()})", e.desc()) for e in errors]
    for node, reason in found:
        report(f"{graph}: {node}: {reason}")
    node, reason = found[0] if found else ("file", log.reason())
    return ContractMismatch(graph, node, "a graph that TensorRT reads", reason)


def error_log(trt: ModuleType) -> Any:  # noqa: ANN401
    """A logger of the module `trt` that keeps errors; TensorRT's own prints them."""
    severities = (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR)

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: object, message: str) -> None:
            if severity in severities:
                self.errors.append(message)

        def reason(self) -> str:
            # What follows the first error is its consequences.
            return self.errors[0] if self.errors else "nothing, and no reason"

    return Log()
