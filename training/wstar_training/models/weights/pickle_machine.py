"""A machine that follows a pickle's steps and can only put together plain containers.

Names in the file stand for objects of a table that the caller gives; the machine imports nothing,
sets no attribute and calls nothing but the table's stand-ins, so a file cannot reach further.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol, runtime_checkable

# A generator, its average and its judge at 1024 take about 100,000.
_MAX_STEPS = 2_000_000
# Seeds and counters have 64 bits, torch's mark of a stream 80.
_MAX_BITS = 128
# Keys whose hash costs no more than reading them: a nested tuple's may take forever.
_KEYS = (str, int, bool, float, bytes, type(None))
# Names that files of older protocols write as Python 2 did.
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class Refused(Exception):
    """A file wants something that is not in the table."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted


@dataclass(frozen=True, eq=False)
class Name:
    """What a name of a file stands for: `build` makes an object of the file's arguments."""

    build: Callable[..., object]


@runtime_checkable
class Pending(Protocol):
    """An object whose state the file gives after the object."""

    def set_state(self, state: object) -> None:
        """Take the state, or raise ValueError."""

    def finished(self) -> object:
        """The object as plain data; ValueError where the state never came."""


class Machine:
    """Reads one pickle, up to its end, from where a stream stands.

    Parameters
    ----------
    stream: the file; reads beyond its end must be short, not an error.
    names: (module, name) to `Name` or to a plain value.
    storage: what a persistent id stands for; without it such ids are refused.
    """

    def __init__(
        self,
        stream: IO[bytes],
        names: Mapping[tuple[str, str], object],
        storage: Callable[[object], object] | None = None,
    ) -> None:
        self._stream = stream
        self._names = names
        self._storage = storage
        self._stack: list[Any] = []
        self._below_marks: list[list[Any]] = []
        self._memo: dict[int, object] = {}

    def load(self) -> object:
        """The object, still with `Pending` parts in it.

        Raises
        ------
        Refused: a name, or another way out of the file, that is not in the table.
        Exception: of nearly any kind, from a damaged file.
        """
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self._stream)):
            if opcode.name == "STOP":
                break
            if count == _MAX_STEPS:
                raise ValueError(f"more than {_MAX_STEPS} steps")
            self._step(opcode.name, argument)
        return self._stack.pop()

    def _step(self, step: str, argument: Any) -> None:  # noqa: ANN401
        stack = self._stack
        match step:
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self._memo[argument])
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "MARK":
                self._below_marks.append(stack)
                self._stack = []
            case "NONE" | "NEWTRUE" | "NEWFALSE" | "EMPTY_TUPLE":
                stack.append(_CONSTANTS[step])
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(step[-1])
                stack.append(tuple([stack.pop() for _ in range(size)][::-1]))
            case "PROTO" | "FRAME":
                pass
            case "POP":
                self._pop()
            case "POP_MARK":
                self._marked()
            case "DUP":
                stack.append(stack[-1])
            case _ if argument is not None and step not in _REACHING:
                stack.append(_literal(argument))
            case _:
                self._contain(step, argument)

    def _contain(self, step: str, argument: Any) -> None:  # noqa: ANN401
        """Steps that make or fill a container."""
        match step:
            case "EMPTY_LIST":
                self._stack.append([])
            case "EMPTY_DICT":
                self._stack.append({})
            case "EMPTY_SET":
                self._stack.append(set())
            case "TUPLE":
                items = self._marked()
                self._stack.append(tuple(items))
            case "LIST":
                items = self._marked()
                self._stack.append(items)
            case "DICT":
                items = self._marked()
                self._stack.append(_fill({}, items))
            case "FROZENSET":
                items = self._marked()
                self._stack.append(frozenset(keys(items)))
            case "APPEND":
                item = self._stack.pop()
                _only(list, self._stack[-1]).append(item)
            case "APPENDS":
                items = self._marked()
                _only(list, self._stack[-1]).extend(items)
            case "ADDITEMS":
                items = self._marked()
                _only(set, self._stack[-1]).update(keys(items))
            case "SETITEM":
                items = [self._stack.pop(), self._stack.pop()][::-1]
                _fill(_only(dict, self._stack[-1]), items)
            case "SETITEMS":
                items = self._marked()
                _fill(_only(dict, self._stack[-1]), items)
            case _:
                self._reach(step, argument)

    def _reach(self, step: str, argument: Any) -> None:  # noqa: ANN401
        """Steps by which a pickle reaches for something outside itself."""
        stack = self._stack
        match step:
            case "GLOBAL":
                stack.append(self._named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(self._named(_only(str, module), _only(str, name)))
            case "INST":
                name = self._named(*argument.split(" ", 1))
                items = self._marked()
                self._stack.append(_built(name, items))
            case "OBJ":
                name, *items = self._marked()
                self._stack.append(_built(name, items))
            case "REDUCE" | "NEWOBJ":
                items = stack.pop()
                stack.append(_built(stack.pop(), _only(tuple, items)))
            case "NEWOBJ_EX":
                if _only(dict, stack.pop()):
                    raise ValueError("arguments by keyword")
                items = stack.pop()
                stack.append(_built(stack.pop(), _only(tuple, items)))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Pending):
                    stack[-1].set_state(state)
                else:
                    # Attributes of an ordered dict, such as a state dict's versions: dropped.
                    _only(dict, stack[-1])
                    _only(dict, state)
            case "PERSID" | "BINPERSID":
                key = stack.pop() if step == "BINPERSID" else argument
                if self._storage is None:
                    raise ValueError("a persistent id")
                stack.append(self._storage(key))
            case "EXT1" | "EXT2" | "EXT4":
                raise Refused(f"extension code {argument}")
            case _:
                raise Refused(step)

    def _named(self, module: str, name: str) -> object:
        module = _RENAMED.get(module, module)
        found = self._names.get((module, name))
        if found is None:
            raise Refused(f"{module}.{name}")
        return found

    def _marked(self) -> list[Any]:
        """Everything above the last mark, which goes away."""
        items = self._stack
        self._stack = self._below_marks.pop()
        return items

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._marked()


# Steps with an argument that is no value.
_REACHING = frozenset({"GLOBAL", "INST", "PERSID", "EXT1", "EXT2", "EXT4"})


def keys(items: Any) -> Any:  # noqa: ANN401
    """The items unchanged, if each can be a key; else ValueError."""
    for item in items:
        if type(item) not in _KEYS:
            raise ValueError(f"a {type(item).__name__} as key")
        if isinstance(item, int) and abs(item) >= sys.hash_info.modulus:
            raise ValueError("an integer key beyond its own hash")
    return items


def _literal(value: object) -> object:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise ValueError(f"an integer of {value.bit_length()} bits")
    return bytes(value) if isinstance(value, bytearray) else value


def _only(kind: type, value: Any) -> Any:  # noqa: ANN401
    if type(value) is not kind:
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _fill(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    target.update(zip(keys(items[::2]), items[1::2], strict=True))
    return target


def _built(name: object, arguments: Any) -> object:  # noqa: ANN401
    return _only(Name, name).build(*arguments)
