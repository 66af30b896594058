"""Two workers that are ready for a moment and end, supervised: run by a test as a program."""

from __future__ import annotations

import logging
import sys
import time

from wstar_service.logs import configure
from wstar_service.pulse import Pulse
from wstar_service.settings import Address, Settings
from wstar_service.workers import supervise


def brief(settings: Settings, pulse: Pulse) -> int:
    """Tell the settings, and be ready for as long as a supervisor needs to see it."""
    configure("json")
    told = {name: str(getattr(settings, name)) for name in ("listen", "metrics", "workers")}
    told |= {"threads": str(settings.threads), "reuse_port": str(settings.reuse_port)}
    logging.getLogger("wstar.brief").info("started", extra=told)
    pulse.set_ready(True)
    time.sleep(0.5)
    return 3


if __name__ == "__main__":
    configure("json")
    sys.exit(supervise(Settings(listen=Address("127.0.0.1", 0), workers=2), brief))
