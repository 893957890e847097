"""RAY_ADDRESS: what it may be, and whether a Ray cluster answers there.

Ray itself would try for many minutes to connect to a server that is silent or is none of Ray's, without a word.
"""

import os
import socket

from data.errors import UserError
from search.cluster.start.start_internals import call_head, resolve_address

NO_API_SERVER = "http://127.0.0.1:1"
"""An address where nothing listens, for a Ray that has no API server."""

CLIENT = "ray://"
"""Begins the address of a cluster's server for Ray's clients, whose programs do not run on the cluster."""

LEGAL_ADDRESSES = "HOST:PORT, auto or local"

MAX_PORT = 2**16 - 1

CONNECT_SECONDS = 10.0
"""How long the head of a cluster may take to accept a connection."""

ANSWER_SECONDS = 18.0
"""How long it may then take to answer. After 20 s gRPC itself gives up, without telling why."""

START_RAY = "start one with `ray start --head`, or unset RAY_ADDRESS to search on this machine"


def find_cluster(address: str) -> str | None:
    """Return HOST:PORT of the server that answers for the Ray cluster at RAY_ADDRESS, in less than a minute.

    It is None for "local", which is this machine.

    Raises:
        UserError: `address` is not an address, or no Ray cluster answers there.
    """
    server = _resolve(address)
    if server is None:
        return None
    host, _, port = server.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= MAX_PORT:
        raise _illegal(address)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"RAY_ADDRESS is {address!r}, but no Ray cluster answers there ({error}); {START_RAY}"
        ) from error
    if problem := _problem(server, address == "auto"):
        raise UserError(f"RAY_ADDRESS is {address!r}, but {problem}")
    return server


def api_server_variable(server: str | None) -> dict[str, str]:
    """Return the environment variable that tells workers the address of their own cluster's API server, by name.

    Once a second, Ray Train asks an API server whether its controller is alive, and releases its workers' resources if
    not. Without the variable it would ask the server that the shell's RAY_API_SERVER_ADDRESS names, or that of the
    newest Ray on the machine, and either may belong to another cluster.

    Args:
        server: HOST:PORT of the cluster's head; None for a Ray that is started on this machine.
    """
    return {"RAY_API_SERVER_ADDRESS": server or NO_API_SERVER}


def _resolve(address: str) -> str | None:
    """Return HOST:PORT of the cluster's head; None for "local"."""
    if address.startswith(CLIENT):
        raise UserError(
            f"RAY_ADDRESS is {address!r}, but a search runs on a machine of its cluster, not in a client of Ray: "
            "start it there with RAY_ADDRESS=auto, by `ray exec` or `ray job submit`"
        )
    if "://" in address:
        raise _illegal(address)
    try:
        return resolve_address(address)
    except ValueError as error:
        raise _illegal(address) from error
    except ConnectionError as error:
        raise UserError(f"RAY_ADDRESS is {address!r}, but no Ray runs on this machine; {START_RAY}") from error


def _illegal(address: str) -> UserError:
    return UserError(
        f"RAY_ADDRESS is {address!r}, but must be {LEGAL_ADDRESSES}; without it Ray starts on this machine"
    )


def _problem(server: str, is_auto: bool) -> str | None:
    """Return why a server that accepts connections is no cluster that can be used; None if it is one."""
    status = call_head(server, seconds=ANSWER_SECONDS)
    if status == "DEADLINE_EXCEEDED":
        return (
            f"what accepts connections there has not answered for {ANSWER_SECONDS:.0f} s; if it is a Ray cluster, its "
            "head hangs: restart it (`ray stop`, `ray start --head`); else correct RAY_ADDRESS or unset it"
        )
    # For "auto", Ray itself uses the token of this user.
    if status == "UNAUTHENTICATED" and "RAY_AUTH_MODE" not in os.environ and not is_auto:
        where = "~/.ray/auth_token or RAY_AUTH_TOKEN"
        return f"the Ray cluster there requires a token; set RAY_AUTH_MODE=token, and have the token in {where}"
    if status == "UNIMPLEMENTED":
        return "the server there is no head of a Ray cluster; its port is 6379 by default"
    return "what answers there is not Ray; correct RAY_ADDRESS or unset it" if status == "UNAVAILABLE" else None
