"""A stand-in for the module `tensorrt`, made from its recorded surface, strict where it ends.

Every class has exactly the members that `tensorrt_surface.json` records for a version; arguments
must fit a recorded signature by name and type. Thingthing else raises. What the members do is the
least that TensorRT documents; engines answer by ONNX Runtime. It proves which names are used and
how, never that TensorRT does with them what it says.
"""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

RECORD = json.loads(Path(__file__).with_name("tensorrt_surface.json").read_text())
VERSIONS: tuple[str, ...] = tuple(RECORD["versions"])
REFUSED = "Det"
_PLAIN = {
    "str": str,
    "int": int,
    "bool": bool,
    "tuple": tuple,
    "list": list,
    "SupportsInt": int,
    "Buffer": bytes,
    "Dims": tuple,
    "Sequence[SupportsInt]": list,
}
# An object of the stand-in, whose class is made while the tests run.
Thing = Any
_TYPES = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.UINT8: np.uint8}


class StandIn(ModuleType):
    """The module.

    dead: no driver is found. used: every (class, member) touched.
    off: added to every answer of an engine.
    last_build: states of the network and of the configuration that were built last.
    """

    def __init__(self, version: str) -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.used: set[tuple[str, str]] = set()
        self.dead = False
        self.off = 0.0
        self.last_build: tuple[Thing, Thing] | None = None
        surface: dict[str, dict[str, Thing]] = RECORD["versions"][version]
        self.classes: dict[str, Thing] = {}
        for name, members in surface.items():
            made = (
                _enum if members and all(isinstance(m, int) for m in members.values()) else _class
            )
            self.classes[name] = made(self, name, members)

    def __getattr__(self, name: str) -> Thing:
        """A recorded class, or AttributeError."""
        if name not in self.__dict__.get("classes", {}):
            raise AttributeError(f"TensorRT {self.__version__}, as recorded, has no {name}")
        return self.classes[name]

    def new(self, name: str, **state: object) -> Thing:
        """An object that only TensorRT makes."""
        made = object.__new__(self.classes[name])
        object.__setattr__(made, "state", SimpleNamespace(**state))
        return made


def _enum(module: StandIn, name: str, members: dict[str, int]) -> type:
    class Members(type):
        def __getattribute__(cls, member: str) -> Thing:
            if member in members:
                module.used.add((name, member))
            return super().__getattribute__(member)

    made = Members(name, (int,), {})
    for member, value in members.items():
        setattr(made, member, made(value))
    return made


def _class(module: StandIn, name: str, members: dict[str, Thing]) -> type:
    content: dict[str, Thing] = {}
    for member, described in members.items():
        if isinstance(described, list):
            content[member] = _method(module, name, member, described)
        elif isinstance(described, int):
            content[member] = described
        else:
            content[member] = _property(module, name, member, settable="settable" in described)
    if name == "IHostMemory":
        content["__bytes__"] = lambda self: self.state.data
    if name == "ILogger":
        # Python subclasses it, so its objects may have attributes of their own.
        return type(name, (), content)

    def refuse(self: object, attribute: str, value: object) -> None:
        if not isinstance(content.get(attribute), property):
            raise AttributeError(f"{name}, as recorded, has no {attribute} to set")
        object.__setattr__(self, attribute, value)

    return type(name, (), {**content, "__setattr__": refuse})


def _property(module: StandIn, owner: str, name: str, settable: bool) -> property:
    def get(self: Thing) -> object:
        module.used.add((owner, name))
        return getattr(self.state, name)

    def put(self: Thing, value: object) -> None:
        module.used.add((owner, name))
        setattr(self.state, name, value)

    return property(get, put if settable else None)


def _method(module: StandIn, owner: str, name: str, signatures: list[str]) -> Thing:
    def call(self: Thing, *args: object, **named: object) -> object:
        module.used.add((owner, name))
        for signature in signatures:
            bound = _bound(module, signature, args, named)
            if bound is not None:
                return BEHAVIOUR[f"{owner}.{name}"](module, self, **bound)
        raise TypeError(f"{owner}.{name} was called with {args} {named}; it takes {signatures}")

    return call


def _bound(
    module: StandIn, signature: str, args: tuple[object, ...], named: dict[str, object]
) -> dict[str, object] | None:
    """Arguments by name, or None where they do not fit the signature."""
    inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    parameters = dict(part.split(": ", 1) for part in inside.split(", ")[1:])
    if len(args) > len(parameters):
        return None
    bound = dict(zip(parameters, args, strict=False))
    if bound.keys() & named.keys() or not named.keys() <= parameters.keys():
        return None
    bound |= named
    for name, kind in parameters.items():
        kind, _, default = kind.partition(" = ")
        wanted = _PLAIN.get(kind) or module.classes.get(kind)
        if name not in bound:
            if not default:
                return None
        elif wanted is None or not isinstance(bound[name], wanted):
            return None
    return bound


def _ilogger_init(t: StandIn, o: Thing) -> None:
    """Nothing to keep."""


def _builder_init(t: StandIn, o: Thing, logger: Thing) -> None:
    if t.dead:
        # As the bindings said of a library without a driver.
        raise TypeError("pybind11::init(): factory function returned nullptr")
    object.__setattr__(o, "state", SimpleNamespace(log=logger))


def _create_network(t: StandIn, o: Thing, flags: int = 0) -> object:
    return t.new("INetworkDefinition", flags=flags, num_layers=0, path=None)


def _create_builder_config(t: StandIn, o: Thing) -> object:
    return t.new("IBuilderConfig", pools={}, cleared=set(), profiles=[], cache=None)


def _build_serialized_network(t: StandIn, o: Thing, network: Thing, config: Thing) -> object:
    inputs = {value.name for value in onnx.load(network.state.path).graph.input}
    t.last_build = (network.state, config.state)
    if [set(shapes) for shapes in config.state.profiles] != [inputs]:
        o.state.log.log(t.ILogger.ERROR, "no optimization profile has been defined")
        return None
    return t.new("IHostMemory", data=str(network.state.path).encode())


def _onnxparser_init(t: StandIn, o: Thing, network: Thing, logger: Thing) -> None:
    state = SimpleNamespace(network=network, errors=[], num_errors=0)
    object.__setattr__(o, "state", state)


def _parse_from_file(t: StandIn, o: Thing, model: str) -> bool:
    nodes = onnx.load(model).graph.node
    o.state.network.state.path, o.state.network.state.num_layers = Path(model), len(nodes)
    o.state.errors = [(i, node) for i, node in enumerate(nodes) if node.op_type == REFUSED]
    o.state.num_errors = len(o.state.errors)
    return not o.state.errors


def _get_error(t: StandIn, o: Thing, index: int) -> object:
    number, node = o.state.errors[index]
    return t.new("ParserError", number=number, node=node)


def _set_memory_pool_limit(t: StandIn, o: Thing, pool: int, pool_size: int) -> None:
    o.state.pools[pool] = pool_size


def _clear_flag(t: StandIn, o: Thing, flag: int) -> None:
    o.state.cleared.add(flag)


def _add_optimization_profile(t: StandIn, o: Thing, profile: Thing) -> int:
    for least, usual, most in profile.state.shapes.values():
        if not all(a <= b <= c for a, b, c in zip(least, usual, most, strict=True)):
            return -1
    o.state.profiles.append(profile.state.shapes)
    return len(o.state.profiles) - 1


def _create_timing_cache(t: StandIn, o: Thing, serialized_timing_cache: bytes) -> object:
    return t.new("ITimingCache", data=serialized_timing_cache)


def _set_timing_cache(t: StandIn, o: Thing, cache: Thing, ignore_mismatch: bool) -> bool:
    if cache.state.data.startswith(b"other") and not ignore_mismatch:
        return False
    o.state.cache = t.new("ITimingCache", data=cache.state.data + b"measured ")
    return True


def _set_shape(t: StandIn, o: Thing, input: str, min: Thing, opt: Thing, max: Thing) -> None:
    o.state.shapes[input] = (min, opt, max)


def _runtime_init(t: StandIn, o: Thing, logger: Thing) -> None:
    object.__setattr__(o, "state", SimpleNamespace(log=logger))


def _deserialize_cuda_engine(t: StandIn, o: Thing, serialized_engine: bytes) -> object:
    path = Path(serialized_engine.decode())
    graph = onnx.load(path).graph
    values = [*graph.output, *graph.input]
    return t.new("ICudaEngine", path=path, values=values, num_io_tensors=len(values))


def _get_tensor_name(t: StandIn, o: Thing, index: int) -> str:
    return str(o.state.values[index].name)


def _create_execution_context(t: StandIn, o: Thing) -> object:
    session = onnxruntime.InferenceSession(o.state.path, providers=["CPUExecutionProvider"])
    return t.new("IExecutionContext", session=session, values=o.state.values, shapes={})


def _set_input_shape(t: StandIn, o: Thing, name: str, shape: Thing) -> bool:
    o.state.shapes[name] = shape
    return True


def _execute_v2(t: StandIn, o: Thing, bindings: list[int]) -> bool:
    feeds: dict[str, Thing] = {}
    targets = []
    (batch,) = {shape[0] for shape in o.state.shapes.values()}
    for value, pointer in zip(o.state.values, bindings, strict=True):
        kind = value.type.tensor_type
        shape = (batch, *(axis.dim_value for axis in kind.shape.dim[1:]))
        count = math.prod(shape) * np.dtype(_TYPES[kind.elem_type]).itemsize
        raw = np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(pointer))
        array = raw.view(_TYPES[kind.elem_type]).reshape(shape)
        if value.name in o.state.shapes:
            feeds[value.name] = array
        else:
            targets.append((value.name, array))
    for (_, target), answer in zip(
        targets, o.state.session.run([name for name, _ in targets], feeds), strict=True
    ):
        target[...] = answer + np.asarray(t.off, answer.dtype)
    return True


# `t` is the module, `o` the object.
BEHAVIOUR: dict[str, Callable[..., object]] = {
    "ILogger.__init__": _ilogger_init,
    "Builder.__init__": _builder_init,
    "Builder.create_network": _create_network,
    "Builder.create_builder_config": _create_builder_config,
    "Builder.create_optimization_profile": lambda t, o: t.new("IOptimizationProfile", shapes={}),
    "Builder.build_serialized_network": _build_serialized_network,
    "OnnxParser.__init__": _onnxparser_init,
    "OnnxParser.parse_from_file": _parse_from_file,
    "OnnxParser.get_error": _get_error,
    "ParserError.node": lambda t, o: o.state.number,
    "ParserError.node_name": lambda t, o: o.state.node.name,
    "ParserError.node_operator": lambda t, o: o.state.node.op_type,
    "ParserError.desc": lambda t, o: "unsupported",
    "IBuilderConfig.set_memory_pool_limit": _set_memory_pool_limit,
    "IBuilderConfig.clear_flag": _clear_flag,
    "IBuilderConfig.add_optimization_profile": _add_optimization_profile,
    "IBuilderConfig.create_timing_cache": _create_timing_cache,
    "IBuilderConfig.set_timing_cache": _set_timing_cache,
    "IBuilderConfig.get_timing_cache": lambda t, o: o.state.cache,
    "ITimingCache.serialize": lambda t, o: t.new("IHostMemory", data=o.state.data),
    "IOptimizationProfile.set_shape": _set_shape,
    "Runtime.__init__": _runtime_init,
    "Runtime.deserialize_cuda_engine": _deserialize_cuda_engine,
    "ICudaEngine.get_tensor_name": _get_tensor_name,
    "ICudaEngine.create_execution_context": _create_execution_context,
    "IExecutionContext.set_input_shape": _set_input_shape,
    "IExecutionContext.execute_v2": _execute_v2,
}


def used_of(version: str) -> set[tuple[str, str]]:
    """Every (class, member) recorded of a version that code calls or reads, and is noted of."""
    surface: dict[str, dict[str, object]] = RECORD["versions"][version]
    return {
        (name, member)
        for name, members in surface.items()
        for member, described in members.items()
        # Of the logger, whose methods Python overrides, only the constructor is called.
        if name != "ILogger" or member == "__init__"
    }
