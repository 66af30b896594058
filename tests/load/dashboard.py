"""Draws the dashboard of a service under rising load: `python -m tests.load.dashboard`."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.monitoring.preview import draw
from tests.deploy.everything import call_everything
from tests.deploy.prometheus import scraping
from tests.load.soak_watch import served
from tests.service.certificates import Authority

CALLERS = 5
# Rates look back so far, and the group of the scaling rule is evaluated every 15 s.
_QUIET_S = 20.0


def main() -> None:
    """Serve, call with one caller more every few seconds, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of load (default: 60)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.png")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = Authority()
        certificate, key = authority.issue("localhost").write(folder)
        os.environ |= {"WSTAR_TLS_CERTIFICATE": str(certificate), "WSTAR_TLS_KEY": str(key)}
        trusted = folder / "ca.pem"
        trusted.write_bytes(authority.certificate)
        with served("triton") as server:
            assert server.triton is not None
            triton = str(server.triton.metrics)
            with scraping(folder, {"wstar": server.metrics, "triton": triton}) as prometheus:
                ends = time.monotonic() + arguments.seconds

                def call(begins_s: float) -> None:
                    time.sleep(begins_s)
                    while time.monotonic() < ends:
                        call_everything(server.address, trusted)

                pauses = [i * arguments.seconds / CALLERS for i in range(CALLERS)]
                with ThreadPoolExecutor(CALLERS) as callers:
                    list(callers.map(call, pauses))
                time.sleep(_QUIET_S)
                minutes = (arguments.seconds + _QUIET_S) / 60
                draw(prometheus.address, "wstar", minutes, arguments.output)


if __name__ == "__main__":
    main()
