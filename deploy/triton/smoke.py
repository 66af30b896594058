"""One inference per model over HTTP: a Triton that says ready may still answer with nothing."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

SIZES = {"UINT8": 1, "FP32": 4}
ANSWER_S = 120.0
_HEADER = "Inference-Header-Content-Length"


class NotProved(Exception):
    """A model that does not answer as its own description says."""


def is_ready(http: str) -> bool:
    """Whether the server at HOST:PORT says that it and all its models are ready."""
    try:
        with urllib.request.urlopen(f"http://{http}/v2/health/ready", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def prove(http: str) -> Iterator[str]:
    """Ask every model with zeros, batch 1; yield its name once it has answered in full.

    Raises NotProved.
    """
    for name in sorted(model["name"] for model in json.loads(_post(http, "repository/index")[0])):
        try:
            with urllib.request.urlopen(f"http://{http}/v2/models/{name}", timeout=5) as reply:
                _prove(http, name, json.load(reply))
        except OSError as error:
            raise NotProved(f"model {name!r} does not answer: {_told(error)}") from error
        yield name


def _prove(http: str, name: str, described: dict[str, Any]) -> None:
    inputs = []
    zeros = b""
    for tensor in described["inputs"]:
        shape = [1, *tensor["shape"][1:]]
        size = SIZES[tensor["datatype"]] * math.prod(shape)
        zeros += bytes(size)
        inputs.append({**tensor, "shape": shape, "parameters": {"binary_data_size": size}})
    request = {"inputs": inputs, "parameters": {"binary_data_output": True}}
    head, rest = _post(http, f"models/{name}/infer", json.dumps(request).encode(), zeros)
    found = {tensor["name"]: tensor for tensor in json.loads(head)["outputs"]}
    for tensor in described["outputs"]:
        shape = [1, *tensor["shape"][1:]]
        size = SIZES[tensor["datatype"]] * math.prod(shape)
        answer = found.get(tensor["name"], {"shape": None, "parameters": {}})
        if answer["shape"] != shape or answer["parameters"].get("binary_data_size") != size:
            raise NotProved(
                f"model {name!r}, output {tensor['name']!r}: expected {shape}, {size} bytes, "
                f"found {answer['shape']}, {answer['parameters'].get('binary_data_size')} bytes"
            )
    expected = sum(tensor["parameters"]["binary_data_size"] for tensor in found.values())
    if len(rest) != expected:
        raise NotProved(f"model {name!r}: expected {expected} bytes, found {len(rest)}")


def _post(http: str, path: str, head: bytes = b"", rest: bytes = b"") -> tuple[bytes, bytes]:
    """Send and receive JSON with bytes behind it (KServe's binary tensor extension)."""
    headers = {_HEADER: str(len(head)), "Content-Type": "application/octet-stream"}
    request = urllib.request.Request(
        f"http://{http}/v2/{path}", head + rest, headers if head else {}
    )
    with urllib.request.urlopen(request, timeout=ANSWER_S) as reply:
        body: bytes = reply.read()
        length = int(reply.headers.get(_HEADER, len(body)))
    return body[:length], body[length:]


def _told(error: OSError) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"{error.code} {error.read().decode(errors='replace')}"
    return str(error)
