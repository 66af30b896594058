"""A reserved port, as servers of the same and of another kind see it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from wstar_service.ports import reserved
from wstar_service.settings import Address


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "[::1]", "[::]", "localhost"])
def test_a_reserved_port_is_for_those_who_share_it(host: str) -> None:
    with reserved(Address(host, 0), shared=False) as address:
        assert address.host == host
        assert address.port > 0
        sharing = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 1)])
        assert sharing.add_insecure_port(str(address)) == address.port
        sharing.start()
        alone = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
        with pytest.raises(RuntimeError):
            alone.add_insecure_port(str(address))
        with pytest.raises(OSError, match="in use"), reserved(address, shared=False):
            pass
        sharing.stop(None).wait()


@pytest.mark.parametrize("address", ["192.0.2.1:0", "nowhere.invalid:0"])
def test_an_address_of_another_machine_is_told(address: str) -> None:
    with pytest.raises(OSError, match="no address of this machine"):
        with reserved(Address.parse(address), shared=False):
            pass
