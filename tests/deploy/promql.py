"""What a PromQL expression names, without evaluating it."""

from __future__ import annotations

import re

_WORDS = {"and", "or", "unless", "by", "on", "without", "ignoring", "bool", "offset", "inf", "nan"}
_NAME = re.compile(r"(?<![\w:.])[a-z_:][\w:]*", re.IGNORECASE)
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
_MATCHERS = re.compile(r"\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')


def metrics(expression: str) -> set[str]:
    """Names of the series that an expression reads: what is neither function, label nor word."""
    for part in (_MATCHERS, re.compile(r"\[[^]]*\]"), re.compile(r'"[^"]*"')):
        expression = part.sub(" ", expression)
    expression = _GROUPING.sub(" ", expression)
    names = re.sub(r"[a-z_]\w*\s*\(", "(", expression)
    return set(_NAME.findall(names)) - _WORDS


def labels(expression: str) -> set[str]:
    """Names of the labels that an expression selects or groups by."""
    grouped = {name.strip() for part in _GROUPING.findall(expression) for name in part.split(",")}
    return grouped | {name for name, _, _ in _matchers(expression)}


def values(expression: str, label: str) -> set[str]:
    """Values of one label that an expression selects by, those of a pattern one by one."""
    return {
        value
        for name, operator, text in _matchers(expression)
        if name == label
        for value in (text.split("|") if "~" in operator else [text])
    }


def _matchers(expression: str) -> list[tuple[str, str, str]]:
    return [found for part in _MATCHERS.findall(expression) for found in _MATCHER.findall(part)]
