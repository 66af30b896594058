"""nginx as the balancer in front of servers: each call goes to one of those it was told of last."""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.service.triton_process import eventually

_STOP_S = 30.0
# Debian's is in a folder that users have not in their PATH.
_PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
# Nothing is tried twice, not even a connection that is refused: what a server loses is seen. Which
# servers fail is for their probes to find.
_CONFIG = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  scgi_temp_path {folder}/scgi;
  uwsgi_temp_path {folder}/uwsgi;
  client_max_body_size 0;
  grpc_read_timeout 60s;
  grpc_send_timeout 60s;
  grpc_next_upstream off;
  upstream servers {{
{servers}
    keepalive 32;
  }}
  server {{
    listen {address} http2;
    location / {{ {action} }}
  }}
}}
"""
_NOWHERE = "    server 127.0.0.1:9 down;"


class Balancer:
    """An nginx that runs; `address` is where it listens."""

    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder
        self.address = address
        self._write(())
        assert _PROGRAM is not None, "ask for `missing` before"
        command = [_PROGRAM, "-e", str(self.log), "-p", str(folder), "-c", str(self._config)]
        self._process = subprocess.Popen(command, start_new_session=True)
        eventually(self._listens, _STOP_S)

    @property
    def log(self) -> Path:
        """What nginx complains about."""
        return self._folder / "nginx.log"

    def balance(self, servers: Sequence[str]) -> None:
        """Send calls that come from now on to these servers; those under way stay."""
        self._write(servers)
        self._process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """Stop it, its workers too."""
        self._process.terminate()
        self._process.wait(_STOP_S)

    @property
    def _config(self) -> Path:
        return self._folder / "nginx.conf"

    def _write(self, servers: Sequence[str]) -> None:
        lines = [f"    server {server} max_fails=0;" for server in servers]
        text = _CONFIG.format(
            folder=self._folder,
            user=getpass.getuser(),
            servers="\n".join(lines) or _NOWHERE,
            address=self.address,
            action="grpc_pass grpc://servers;" if servers else "return 503;",
        )
        # At once: nginx may be reading the one before.
        new = self._folder / "nginx.conf.new"
        new.write_text(text, encoding="utf-8")
        new.replace(self._config)

    def _listens(self) -> bool:
        host, port = self.address.rsplit(":", 1)
        with socket.socket() as asking:
            return asking.connect_ex((host, int(port))) == 0


def free_address() -> str:
    """An address of this machine that nobody listens on at this moment."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}"


def missing() -> str | None:
    """Why there can be no balancer here, or None."""
    return None if _PROGRAM else "nginx is not on this machine (Debian: apt install nginx)"


@contextmanager
def balancer(folder: Path) -> Iterator[Balancer]:
    """Run one on a free port until the block ends."""
    found = Balancer(folder, free_address())
    try:
        yield found
    finally:
        found.close()
