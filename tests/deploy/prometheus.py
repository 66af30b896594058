"""A real Prometheus that evaluates our rules and scrapes servers of this machine."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tests.deploy.monitoring import RULES
from tests.load.balancer import free_address
from tests.service.triton_process import eventually

_READY_S = 30.0


@dataclass(frozen=True)
class Prometheus:
    """Where one answers, as HOST:PORT."""

    address: str

    def get(self, path: str, **parameters: str) -> Any:  # noqa: ANN401
        """What its API answers."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{query}") as reply:
            return json.load(reply)["data"]

    def numbers(self, expression: str) -> list[float]:
        """The values of an expression now; those that are not a number are left out."""
        found = [float(each["value"][1]) for each in self.get("query", query=expression)["result"]]
        return [value for value in found if not math.isnan(value)]

    def scrapes(self) -> float:
        """How many scrapes the target with the fewest has had."""
        found = self.numbers("min(count_over_time(up[1h]))")
        return found[0] if found else 0.0

    def ready(self) -> bool:
        """Whether it answers at all."""
        try:
            urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5).close()
        except OSError:
            return False
        return True


@contextmanager
def scraping(
    folder: Path, targets: Mapping[str, str], interval: str = "1s"
) -> Iterator[Prometheus]:
    """Scrape the address of each job until the block ends, with the labels that a cluster sets."""
    program = shutil.which("prometheus")
    assert program is not None, "ask for `prometheus` before"
    config = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [address], "labels": {"namespace": "wstar", "pod": f"{job}-0"}}
                ],
            }
            for job, address in targets.items()
        ],
    }
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    address = free_address()
    command = [program, f"--config.file={path}", f"--storage.tsdb.path={folder / 'series'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log)
        try:
            server = Prometheus(address)
            eventually(server.ready, _READY_S)
            yield server
        finally:
            process.terminate()
            process.wait(_READY_S)
