"""Threads that run graphs: a test leaves as many as it found."""

from __future__ import annotations

import threading


def engine_threads() -> set[threading.Thread]:
    """Those of this process that are there now."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("graphs")}
