"""The store in which workers find each other; tests/circumstances/test_network.py looks at a whole search."""

import socket

import pytest

from search.cluster.group.process_group import open_store


def test_store_is_reached_at_its_own_address_until_it_is_let_go():
    store = open_store("127.0.0.1")
    port = store.port
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    with pytest.raises(OSError, match=r"refused|unreachable|assign"):
        socket.create_connection(("127.0.0.2", port), timeout=5)
    del store
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
