"""Who is calling: bearer tokens from a mounted file, asked of every call but those for health."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Self

import grpc

from wstar.errors import InvalidInput, Unauthenticated
from wstar_service.mounted import Mounted
from wstar_service.request_ids import request_id
from wstar_service.status import code_of, reason, status_of, trailers
from wstar_service.wire import Continuation

_HEALTH = "/grpc.health.v1.Health/"
_HEADER = "authorization"
_TOKEN68 = r"[A-Za-z0-9._~+/-]+=*"
_LINE = re.compile(rf"([A-Za-z0-9._-]{{1,64}})[ \t]+({_TOKEN68})[ \t]*".encode())
_BEARER = re.compile(rf"bearer +({_TOKEN68})", re.IGNORECASE)
_RULE = (
    "NAME TOKEN, the name 1 to 64 of A-Z a-z 0-9 . _ -, the token 16 to 512 of "
    "A-Z a-z 0-9 - . _ ~ + / with = at its end only"
)
# Every call is compared with every token: 1000 take about 0.05 ms.
_MOST_TOKENS = 1000
_MOST_BYTES = 2**20
_LOOK_EVERY_S = 1.0
_LOG = logging.getLogger("wstar.auth")

_CALLER: ContextVar[str | None] = ContextVar("caller", default=None)

_Known = tuple[tuple[bytes, str], ...]
Metadata = Iterable[tuple[str, str | bytes]]


def caller_name() -> str | None:
    """Return the name beside the token of the call under way; None without authentication."""
    return _CALLER.get()


class Tokens:
    """The tokens that are accepted, as SHA-256 digests, each with the name of its owner."""

    def __init__(self, file: Mounted[_Known]) -> None:
        self._file = file
        self._known = file.look()
        self._look_at_s = 0.0

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of lines NAME TOKEN; blank lines and lines that begin with # are left out.

        A name may have several tokens, so that a new one is known before the old one goes; a
        token has one name. The file is looked at once per second, when a call asks, and read
        again when it changed. One that breaks a rule then changes nothing, an empty one
        included: take a token back by removing its line or writing another one in its place.

        Raises InvalidInput: `tokens`, with path and line number, never with a token.
        """
        return cls(Mounted.open([path], partial(_read, path)))

    def caller(self, metadata: Metadata | None) -> str:
        """Return the owner of the token in a call's metadata, `authorization: Bearer TOKEN`.

        Raises Unauthenticated, which says what is missing and nothing of what was sent.
        """
        found = [value for key, value in metadata or () if key == _HEADER]
        if not found:
            raise Unauthenticated("no token: send metadata authorization: Bearer TOKEN")
        if len(found) > 1:
            raise Unauthenticated("authorization was sent more than once: send one Bearer TOKEN")
        bearer = _BEARER.fullmatch(found[0]) if isinstance(found[0], str) else None
        if bearer is None:
            raise Unauthenticated("authorization is not of the form Bearer TOKEN")
        digest = hashlib.sha256(bearer[1].encode()).digest()
        owner = None
        # To the end whatever was found: the time tells nothing about which token is near.
        for known, name in self._newest():
            if hmac.compare_digest(known, digest):
                owner = name
        if owner is None:
            raise Unauthenticated("unknown token: it may have been taken back; get a valid one")
        return owner

    def _newest(self) -> _Known:
        now_s = time.monotonic()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + _LOOK_EVERY_S
            self._known = self._file.look()
        return self._known


class Authentication(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Lets through calls with a known token, and health; `refused` counts reasons of the others.

    To be the first interceptor: a call without a token learns nothing, not even whether its
    method exists, and none of its messages are read.
    """

    def __init__(self, tokens: Tokens, refused: Callable[[str], None]) -> None:
        self._tokens = tokens
        self._refused = refused

    async def intercept_service(
        self, continuation: Continuation, details: grpc.HandlerCallDetails
    ) -> Any:  # noqa: ANN401
        """Return the handler of a call, or one that ends it with UNAUTHENTICATED."""
        if details.method.startswith(_HEALTH):
            return await continuation(details)
        try:
            # The handler runs in the same task, so it and all it starts can read the name.
            _CALLER.set(self._tokens.caller(details.invocation_metadata))
        except Unauthenticated as error:
            return self._refusal(error, details.method)
        return await continuation(details)

    def _refusal(self, error: Unauthenticated, method: str) -> Any:  # noqa: ANN401
        async def refuse(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
        ) -> None:
            name = request_id(context.invocation_metadata())
            self._refused(reason(error))
            facts = {"request_id": name, "method": method[:100], "code": code_of(error).name}
            _LOG.info("refused", extra=facts)
            message = status_of(error, name).message
            await context.abort(code_of(error), message, trailers(error, name))

        # Fits calls of every kind: the other handlers first wait for a message, which may not come.
        return grpc.stream_stream_rpc_method_handler(refuse)


def _read(path: Path) -> _Known:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidInput("tokens", str(path), f"a file to read ({error.strerror})") from None
    if len(data) > _MOST_BYTES:
        raise InvalidInput("tokens", str(path), f"at most {_MOST_BYTES} bytes")
    owners: dict[bytes, str] = {}
    # Of bytes, so that only line ends end a line and a comment may be in any encoding.
    for number, line in enumerate(data.splitlines(), start=1):
        text = line.strip(b" \t")
        if not text or text.startswith(b"#"):
            continue
        at = f"{path}, line {number}"
        fields = _LINE.fullmatch(text)
        if fields is None or not 16 <= len(fields[2]) <= 512:
            raise InvalidInput("tokens", at, _RULE)
        digest = hashlib.sha256(fields[2]).digest()
        if digest in owners:
            raise InvalidInput("tokens", at, "a token that no line before it has")
        owners[digest] = fields[1].decode()
    if not 1 <= len(owners) <= _MOST_TOKENS:
        raise InvalidInput("tokens", str(path), f"1 to {_MOST_TOKENS} lines NAME TOKEN")
    return tuple(owners.items())
