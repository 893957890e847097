"""The socket and the server under the service."""

import math
import socket
from typing import TYPE_CHECKING

from model.serve.limits import Limits, ServeError

if TYPE_CHECKING:  # not imported here, so that mistakes in the arguments are reported without the `serve` extra too
    import uvicorn

    from model.serve.guard import App


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the first address of a host.

    Raises:
        ServeError: There is no such address, or the port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # despite connections that have ended
            listener.bind(address)
            listener.listen()
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ServeError(f"cannot listen at {host}, port {port} ({reason}); choose another --host or --port") from error
    return listener


def make_server(service: "App", limits: Limits) -> "uvicorn.Server":
    """Return a server for the service, which ends connections that take too long."""
    import uvicorn

    from model.serve.connection import MAX_HEADER_BYTES, TimedConnection

    config = uvicorn.Config(
        service,
        loop="asyncio",
        http=TimedConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_keep_alive=math.ceil(limits.timeout_seconds),
        timeout_graceful_shutdown=1,  # of the two seconds within which Ctrl-C must end the service
    )
    return uvicorn.Server(config)
