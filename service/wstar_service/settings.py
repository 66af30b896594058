"""Every setting of `wstar-serve`, each a flag and a WSTAR_ variable; flags win."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wstar

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


@dataclass(frozen=True)
class Address:
    """A host and a TCP port, 0 to 65535; port 0 is any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read HOST:PORT; an IPv6 host stands in brackets, as in [::1]:50051."""
        host, colon, port = text.rpartition(":")
        if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):
            raise argparse.ArgumentTypeError(f"found {text!r}, allowed: HOST:PORT, port 0 to 65535")
        return cls(host, int(port))

    def __str__(self) -> str:
        """HOST:PORT, as `parse` reads it."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Settings:
    """What one server is told at its start.

    repository: folder of graphs, `<graph>/1/model.onnx` and `<flow>/space.json`, to run in this
    process; or None, and `triton` says which Triton server runs them.
    triton_shared_memory: whether pictures pass through shared memory when Triton is on this host.
    listen: where gRPC listens.
    metrics: where Prometheus scrapes over HTTP; None for nowhere.
    threads: CPU threads per graph, and for pictures; None for as many as this process may use.
    max_image_bytes, max_image_pixels: bounds of one picture, encoded and decoded.
    max_message_bytes: bound of one request, encoded.
    max_batch: most faces in a list.
    max_concurrency: most calls worked on at once.
    reflection: whether clients may list the calls (gRPC reflection).
    grace_s: seconds that calls in flight get to finish after SIGTERM.
    """

    repository: Path | None = None
    triton: Address | None = None
    triton_shared_memory: bool = True
    listen: Address = Address("127.0.0.1", 50051)
    metrics: Address | None = None
    threads: int | None = None
    max_image_bytes: int = 10 * 2**20
    max_image_pixels: int = 4096 * 4096
    max_message_bytes: int = 64 * 2**20
    max_batch: int = 64
    max_concurrency: int = 16
    reflection: bool = True
    grace_s: float = 20.0

    @classmethod
    def from_args(cls, argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
        """Read flags, then WSTAR_ variables, then defaults.

        Raises SystemExit with status 2 and a line on stderr for a value that is not allowed.
        """
        parser, readers = _parser()
        for name, read in readers.items():
            variable = f"WSTAR_{name.upper()}"
            if variable in environ:
                try:
                    parser.set_defaults(**{name: read(environ[variable])})
                except argparse.ArgumentTypeError as error:
                    parser.error(f"{variable}: {error}")
        found = vars(parser.parse_args(argv))
        if (found["repository"] is None) == (found["triton"] is None):
            found_both = f"both: {found['repository']} and {found['triton']}"
            parser.error(
                "the graphs are either in --repository DIR (WSTAR_REPOSITORY) or on "
                "--triton HOST:PORT (WSTAR_TRITON), found "
                + ("neither" if found["triton"] is None else found_both)
            )
        return cls(**found)


def _parser() -> tuple[argparse.ArgumentParser, dict[str, Callable[[str], Any]]]:
    """Describe the flags; the second part reads the text of each setting, by name."""
    parser = argparse.ArgumentParser(
        prog="wstar-serve",
        description="Serve a repository of wstar graphs over gRPC.",
        epilog="Every flag is also a variable: --max-batch is WSTAR_MAX_BATCH. Flags win.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {wstar.__version__}")
    default = Settings()
    readers: dict[str, Callable[[str], Any]] = {
        "repository": Path,
        "triton_shared_memory": _boolean,
        "reflection": _boolean,
    }

    def add(flag: str, read: Callable[[str], Any], unit: str, text: str) -> None:
        name = flag.replace("-", "_")
        value = getattr(default, name)
        readers[name] = read
        shown = "" if value is None else f" (default: {value})"
        parser.add_argument(f"--{flag}", type=read, metavar=unit, default=value, help=text + shown)

    parser.add_argument(
        "--repository", type=Path, metavar="DIR", help="folder of graphs to run in this process"
    )
    add("triton", Address.parse, "HOST:PORT", "Triton server that runs the graphs instead (gRPC)")
    parser.add_argument(
        "--triton-shared-memory",
        action=argparse.BooleanOptionalAction,
        default=default.triton_shared_memory,
        help="pass pictures through it when Triton is on this host (default: yes)",
    )
    add("listen", Address.parse, "HOST:PORT", "where gRPC listens; port 0 is any free port")
    add("metrics", Address.parse, "HOST:PORT", "where Prometheus scrapes; default: nowhere")
    add(
        "threads", _whole, "COUNT", "CPU threads per graph and for pictures; default: all there are"
    )
    add("max-image-bytes", _whole, "BYTES", "largest encoded picture")
    add("max-image-pixels", _whole, "PIXELS", "largest picture, width times height")
    add("max-message-bytes", _whole, "BYTES", "largest request")
    add("max-batch", _whole, "FACES", "most faces in a list")
    add("max-concurrency", _whole, "CALLS", "most calls worked on at once; more are refused")
    parser.add_argument(
        "--reflection",
        action=argparse.BooleanOptionalAction,
        default=default.reflection,
        help="let clients list the calls (default: yes)",
    )
    add("grace-s", _seconds, "SECONDS", "time for calls in flight to finish after SIGTERM")
    return parser, readers


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: a whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 3600.0:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: 0 to 3600 seconds")
    return value


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, allowed: {', '.join(_TRUE)} or {', '.join(_FALSE)}"
        )
    return text.lower() in _TRUE
