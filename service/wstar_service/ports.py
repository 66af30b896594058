"""A port that several processes share, held by the one that starts them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from wstar_service.pages import not_listening
from wstar_service.settings import Address


@contextmanager
def reserved(address: Address, *, shared: bool) -> Iterator[Address]:
    """Hold a port without listening on it, and yield the address with its number.

    Meanwhile processes of the same user may listen on it by SO_REUSEPORT, and nobody else. The
    system gives new connections only to those who listen.

    shared: whether somebody else may listen on it already.

    Raises OSError: the address is not of this machine, or somebody listens on it.
    """
    host, port = address.host.strip("[]"), address.port
    with ExitStack() as held:
        try:
            # A name may stand for an address of each family.
            for family, _, _, _, where in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                place = (where[0], port, *where[2:])
                if port and not shared:
                    # Only a socket that does not share the port learns that somebody listens.
                    with _socket(family) as probe:
                        probe.bind(place)
                holder = held.enter_context(_socket(family))
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                holder.bind(place)
                port = holder.getsockname()[1]
        except OSError as error:
            raise not_listening(address) from error
        yield Address(address.host, port)


def _socket(family: socket.AddressFamily) -> socket.socket:
    found = socket.socket(family)
    # Connections of a server that just ended do not hold the port.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return found
