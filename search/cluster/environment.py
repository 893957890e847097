"""Whom the processes of a search ask about the cluster that they are in.

Ray Train asks an API server once a second whether its controller lives, and takes its workers' place away if the
answer is that there is none. Untold, it asks whom RAY_API_SERVER_ADDRESS names where the search began, or the newest
Ray of the machine, which may be another that has never heard of it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ray._private.services import canonicalize_bootstrap_address

NOBODY = "http://127.0.0.1:1"
"""An address where nothing listens: a Ray of this machine alone has nobody who knows."""


def api_server(address: str | None) -> dict[str, str]:
    """Return the variable that tells them, RAY_ADDRESS being this."""
    if address and "://" in address:  # a client's; its workers find the cluster that they are in
        return {}
    server = canonicalize_bootstrap_address(address) if address else None  # of "local" there is none either
    return {"RAY_API_SERVER_ADDRESS": server or NOBODY}


@contextmanager
def inherited(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the processes that begin meanwhile, not for what this one does later."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
