"""Spans of calls for whoever collects them; nobody does unless `--otlp` names a collector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import grpc

from wstar.errors import InvalidInput
from wstar_service.settings import Address
from wstar_service.stages import Stage


class Tracer:
    """Tells nobody; what `open` returns for a collector tells it."""

    @staticmethod
    def open(otlp: Address | None) -> Tracer:
        """Return a tracer that tells the collector at `otlp`, without asking whether it is there.

        Raises InvalidInput: the extra `tracing` is not installed.
        """
        if otlp is None:
            return Tracer()
        try:
            # A server that nobody traces has no use for it, nor need it be installed.
            from wstar_service.otlp import OtlpTracer
        except ModuleNotFoundError as error:
            raise InvalidInput(
                "otlp", str(otlp), f"nothing without {error.name}: pip install 'wstar[tracing]'"
            ) from error
        return OtlpTracer(otlp)

    def call(
        self,
        method: str,
        code: grpc.StatusCode,
        started_s: float,
        ended_s: float,
        stages: Sequence[Stage],
        metadata: Iterable[tuple[str, str | bytes]],
        request_id: str,
        faces: int,
    ) -> str | None:
        """Tell of a call that ended, and its stages; return its trace id in 32 hex digits.

        started_s, ended_s: seconds of `time.monotonic`, as in the stages.
        metadata: what the caller sent; its `traceparent` (W3C) names the span that made the call
        and says whether it is traced at all.

        It never waits, and never raises for a collector that is away: what does not fit into a
        bounded queue is dropped.
        """
        return None

    def close(self) -> None:
        """Tell what has not been told yet, within 5 s; it blocks."""
