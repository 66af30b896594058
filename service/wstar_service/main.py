"""`wstar-serve`: one process, or several that share a port."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress

from wstar.errors import WstarError
from wstar_service.arguments import read_settings
from wstar_service.logs import configure
from wstar_service.pulse import Pulse
from wstar_service.settings import Settings

# glibc keeps what is freed in as many heaps as there are threads at most; few heaps are used again
# soon, many only grow.
_M_ARENA_MAX, _HEAPS = -8, 2
_LOG = logging.getLogger("wstar.server")


def main() -> int:
    """Run `wstar-serve`; 0 after a graceful stop, 1 with a message if it could not serve."""
    settings = read_settings(sys.argv[1:], os.environ)
    if settings.workers == 1:
        return run_process(settings, Pulse())
    configure(settings.log_format)
    # Only several processes need a supervisor, and it needs neither gRPC nor an engine.
    from wstar_service.workers import supervise

    try:
        return supervise(settings, run_process)
    except (WstarError, OSError) as error:
        _LOG.error("cannot serve: %s", error)
        return 1


def run_process(settings: Settings, pulse: Pulse) -> int:
    """Serve in this process; return its exit code."""
    configure(settings.log_format)
    limit_heaps = getattr(ctypes.CDLL(None), "mallopt", None)  # Other C libraries have no heaps.
    if limit_heaps is not None:
        limit_heaps(_M_ARENA_MAX, _HEAPS)
    from wstar_service.process import serve

    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    # Where it is not built, as on Windows, Python's own loop will do.
    with suppress(ImportError):
        from uvloop import new_event_loop as loop_factory
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(serve(settings, pulse))
    except (WstarError, OSError) as error:
        _LOG.error("cannot serve: %s", error)
        return 1
    return 0
