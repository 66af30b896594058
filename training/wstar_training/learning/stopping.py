"""A training that is asked to stop ends its step, saves and then stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether Ctrl-C or SIGTERM has come."""

    asked = False


@contextmanager
def stop_requests() -> Iterator[Stop]:
    """Turn the first Ctrl-C or SIGTERM of a block into a request; a second one acts at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        # Python hands signals to its main thread only.
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        restore()

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
