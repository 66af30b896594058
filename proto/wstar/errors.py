"""The exceptions of wstar, one class per question a caller may ask.

WstarError
├── InvalidInput            the caller sent something wrong: field, value, allowed range
│   ├── ImageError          bytes that are no picture wstar can read
│   └── DependentAttributes the attributes asked for cannot be moved independently
├── LimitExceeded           the caller sent more than a stated limit
├── SpaceMismatch           a code of another space, or of none
├── Overloaded              the server is full; the same call may succeed later
├── DeadlineExceeded        the caller's deadline passed before the work was done
├── Unauthenticated         the call names nobody whom the server knows
├── ContractMismatch        a repository or server whose graphs are not those of the contract
├── RunnerUnavailable       the engine that runs the graphs cannot be reached or failed
└── CheckpointError         a training or model file that cannot be used
"""

from __future__ import annotations

import re

_SHOWN_CHARACTERS = 200


def _shown(value: object) -> str:
    """Represent a value in at most 200 characters, on one line: for clients and logs."""
    text = re.sub(r"\s*\n\s*", " ", repr(value))
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


class WstarError(Exception):
    """Base of every error that wstar raises on purpose."""


class InvalidInput(WstarError):
    """A value outside what the call allows.

    Parameters
    ----------
    field: path of the value as the caller wrote it, such as `faces[3].code.data`.
    value: the value found; its representation is cut to 200 characters.
    allowed: the allowed range, in words or figures.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}: found {_shown(value)}, allowed: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed

    def under(self, prefix: str) -> InvalidInput:
        """Return the same error with `prefix` in front of its field path."""
        return type(self)(f"{prefix}.{self.field}", self.value, self.allowed)


class ImageError(InvalidInput):
    """Bytes that are not a readable JPEG, PNG or WebP picture."""


class DependentAttributes(InvalidInput):
    """Targets and preserved attributes whose hyperplanes depend on each other."""


class LimitExceeded(WstarError):
    """More than a stated limit (bytes, pixels, batch): `found` above `limit`, in `unit`."""

    def __init__(self, field: str, found: int, limit: int, unit: str) -> None:
        super().__init__(f"{field}: found {found} {unit}, allowed: at most {limit} {unit}")
        self.field = field
        self.found = found
        self.limit = limit
        self.unit = unit

    def under(self, prefix: str) -> LimitExceeded:
        """Return the same error with `prefix` in front of its field path."""
        return LimitExceeded(f"{prefix}.{self.field}", self.found, self.limit, self.unit)


class SpaceMismatch(WstarError):
    """A code whose `space_id` is not the one served: the two ids say which is which."""

    def __init__(self, field: str, found: str, served: str) -> None:
        super().__init__(
            f"{field}: found space id {_shown(found)}, served: {served!r}; "
            "embed the picture again, or ask the service that wrote the code"
        )
        self.field = field
        self.found = found
        self.served = served


class Overloaded(WstarError):
    """The server refuses work it has no room for; try again after `retry_after_s` seconds."""

    def __init__(self, limit: str, retry_after_s: float) -> None:
        super().__init__(f"{limit} reached; try again in {retry_after_s:g} s")
        self.limit = limit
        self.retry_after_s = retry_after_s


class DeadlineExceeded(WstarError):
    """The caller's deadline passed before the work was done."""


class Unauthenticated(WstarError):
    """The server asks for a token, and the call has none or one that it does not know."""


class ContractMismatch(WstarError):
    """A graph that is not the one of the contract: graph, tensor, expected, found."""

    def __init__(self, graph: str, tensor: str, expected: object, found: object) -> None:
        super().__init__(
            f"graph {graph!r}, {tensor}: expected {_shown(expected)}, found {_shown(found)}"
        )
        self.graph = graph
        self.tensor = tensor
        self.expected = expected
        self.found = found


class RunnerUnavailable(WstarError):
    """The engine that runs the graphs cannot be reached, or failed on valid input."""


class CheckpointError(WstarError):
    """A training or model file that cannot be used; the message names file and key."""
