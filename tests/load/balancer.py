"""HAProxy as the balancer in front of servers: each call goes to one of those it was told of last.

It is told at run time. A balancer that reads its file anew ends its clients' connections, and loses
calls that were on their way: a fault of that balancer, which would be counted as the servers'.
"""

from __future__ import annotations

import csv
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.service.triton_process import eventually

_STOP_S = 30.0
# More than there are servers at once, those that stop among them.
_PLACES = 8
# Debian's is in a folder that users have not in their PATH.
_PROGRAM = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
# Nothing is tried twice, not even a connection that is refused: what a server loses is seen. Which
# servers fail is for their probes to find.
_CONFIG = """
global
  stats socket {socket} mode 600 level admin
  nbthread 1
defaults
  mode http
  retries 0
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend calls
  bind {address} proto h2
  default_backend servers
backend servers
  balance roundrobin
  server-template place {places} 127.0.0.1:9 proto h2 disabled
"""


class Balancer:
    """An HAProxy that runs; `address` is where it listens."""

    def __init__(self, folder: Path, address: str) -> None:
        self._socket = folder / "haproxy.socket"
        self.address = address
        self._places: dict[str, int] = {}
        self._next = 0
        config = folder / "haproxy.cfg"
        text = _CONFIG.format(socket=self._socket, address=address, places=_PLACES)
        config.write_text(text, encoding="utf-8")
        assert _PROGRAM is not None, "ask for `missing` before"
        with (folder / "haproxy.log").open("wb") as log:
            command = [_PROGRAM, "-db", "-f", str(config)]
            self._process = subprocess.Popen(command, stderr=log, start_new_session=True)
        eventually(self._listens, _STOP_S)

    def balance(self, servers: Sequence[str]) -> None:
        """Send calls that come from now on to these servers; those under way stay."""
        for server in self._places.keys() - set(servers):
            self._set(self._places.pop(server), "state maint")
        for server in servers:
            if server not in self._places:
                place = self._free_place()
                self._places[server] = place
                host, port = server.rsplit(":", 1)
                self._set(place, f"addr {host} port {port}")
                self._set(place, "state ready")

    def refused(self) -> int:
        """Return how many calls found no server where one had been announced."""
        rows = csv.DictReader(self._tell("show stat").removeprefix("# ").splitlines())
        (backend,) = (row for row in rows if row["svname"] == "BACKEND")
        return int(backend["econ"])

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(_STOP_S)

    def _free_place(self) -> int:
        """Return the place that has been free for longest: calls may still be under way in one."""
        taken = set(self._places.values())
        for _ in range(_PLACES):
            self._next = self._next % _PLACES + 1
            if self._next not in taken:
                return self._next
        raise RuntimeError(f"more than {_PLACES} servers")

    def _tell(self, command: str) -> str:
        """Carry out a command of the runtime API and return its answer."""
        with socket.socket(socket.AF_UNIX) as telling:
            telling.connect(str(self._socket))
            telling.sendall(f"{command}\n".encode())
            answer = b"".join(iter(lambda: telling.recv(65536), b"")).decode().strip()
        return answer

    def _set(self, place: int, change: str) -> None:
        """Change a server; what HAProxy says of a change that it makes is no error."""
        answer = self._tell(f"set server servers/place{place} {change}")
        if answer and "changed" not in answer and "no need" not in answer:
            raise RuntimeError(f"{change}: {answer}")

    def _listens(self) -> bool:
        host, port = self.address.rsplit(":", 1)
        with socket.socket() as asking:
            return self._socket.exists() and asking.connect_ex((host, int(port))) == 0


def free_address() -> str:
    """An address of this machine that nobody listens on at this moment."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}"


def missing() -> str | None:
    """Why there can be no balancer here, or None."""
    return None if _PROGRAM else "haproxy is not on this machine (Debian: apt install haproxy)"


@contextmanager
def balancer(folder: Path) -> Iterator[Balancer]:
    """Run one on a free port until the block ends."""
    found = Balancer(folder, free_address())
    try:
        yield found
    finally:
        found.close()
