"""How texts of a command line are read; each reader raises argparse.ArgumentTypeError."""

from __future__ import annotations

import argparse
import math
import re

MAX_TIMEOUT_S = 86_400.0
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def address(text: str) -> str:
    """HOST:PORT."""
    # gRPC itself would take 65537 for port 1.
    found = re.fullmatch(r"\S+:([0-9]{1,5})", text)
    if found is None or not 1 <= int(found[1]) <= 65535:
        raise _refused(text, "HOST:PORT, the port from 1 to 65535")
    return text


def seconds(text: str) -> float:
    """A time, in seconds, up to a day."""
    value = number(text)
    if not 0 < value <= MAX_TIMEOUT_S:
        raise _refused(text, f"above 0 to {MAX_TIMEOUT_S:g} seconds")
    return value


def positive(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if not (value > 0 and math.isfinite(value)):
        raise _refused(text, "a number above 0")
    return value


def count(text: str) -> int:
    """A whole number from 1 on."""
    value = whole(text)
    if value < 1:
        raise _refused(text, "a whole number from 1 on")
    return value


def whole(text: str) -> int:
    """A whole number from 0 to 4294967295, as seeds are."""
    # int() also reads 1_000 and digits of other scripts.
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) >= 2**32:
        raise _refused(text, f"a whole number from 0 to {2**32 - 1}")
    return int(text)


def shard(text: str) -> tuple[int, int]:
    """I/N: the I-th of N parts, counted from 1."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise _refused(text, "I/N with I from 1 to N")
    return int(found[1]), int(found[2])


def names(text: str) -> list[str]:
    """Names with commas between."""
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers(text: str) -> list[float]:
    """Numbers with commas between."""
    return [number(part) for part in text.split(",")]


def assignment(text: str) -> tuple[str, float]:
    """NAME=NUMBER."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise _refused(text, "ATTRIBUTE=NUMBER")
    return name, number(value)


def number(text: str) -> float:
    """Any number."""
    try:
        return float(text)
    except ValueError:
        raise _refused(text, "a number") from None


def truth(text: str) -> bool:
    """Yes or no, as variables of the environment say it."""
    if text.lower() not in (*_TRUE, *_FALSE):
        raise _refused(text, f"{', '.join(_TRUE)}, {', '.join(_FALSE)}")
    return text.lower() in _TRUE


def _refused(text: str, allowed: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"found {text!r}, allowed: {allowed}")
