"""A model as a small HTTP service: `python -m model.serve MODEL`.

FastAPI on uvicorn needs one process with the runtime that `model.predict` uses, on any laptop. Ray Serve would bring a
cluster to a machine that only predicts, and its batching is what the hundred lines of `model.serve.batching` do.
"""

import ipaddress
import logging
import math
import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import tyro

from data.arguments import parse_arguments
from data.command import run_command
from data.errors import UserError
from model.inference.runtime import Runtime, choose_runtime, load_model
from model.inference.volume import Network
from model.serve.batching import BatchConfig, Batcher
from model.serve.limits import Limits, ServeError
from model.settings import Settings

if TYPE_CHECKING:
    import uvicorn

TOKEN_VARIABLE = "TUMOUR_SEARCH_TOKEN"

MIN_TOKEN_LENGTH = 16
"""Characters; as hexadecimal digits that is 64 bits, which nobody guesses over a network."""

SPARE_CONNECTIONS = 64
"""Connections beyond those of running requests, for pages, health checks and refusals."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Serve an exported model over HTTP: send an image or a NIfTI file, receive the mask. For research, not for
    diagnosis."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """An exported model.onnx, or the folder that holds it."""

    runtime: Runtime = "auto"
    """What runs the network. `auto`: OpenVINO in bfloat16 if it is installed, the processor computes in bfloat16 and
    there is no CUDA; else ONNX Runtime in float32. In bfloat16 a probability may differ by a few thousandths from that
    of model.predict."""

    host: str = "127.0.0.1"
    """Address to listen at. The default is reached from this machine only, 0.0.0.0 from everywhere."""

    port: int = 8080
    """Port to listen at; 0 takes a free one, which is printed."""

    token_file: Path | None = None
    """File that holds the bearer token which clients must send. Without it, the environment variable
    TUMOUR_SEARCH_TOKEN is used; without both, anyone who reaches the service may use it."""

    allow_anyone: bool = False
    """Listen to other machines without a token. Requests and tokens are not encrypted: put a proxy with TLS in
    front."""

    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)
    batching: Annotated[BatchConfig, tyro.conf.arg(name="")] = field(default_factory=BatchConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ServeError(f"port is {self.port}, but must be 0 to 65535")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM. Return 0 then, and 2 after a mistake of the user."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # this program logs the rest itself
    try:
        _serve(parse_arguments(Arguments, argv, prog="python -m model.serve"))
    except MemoryError as error:
        raise UserError("there is not enough memory for this model; close other programs") from error
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
    return 0


def _serve(arguments: Arguments) -> None:
    token = read_token(arguments.token_file)
    with listen(arguments.host, arguments.port) as listener:
        address, port = listener.getsockname()[:2]
        is_local = ipaddress.ip_address(address.partition("%")[0]).is_loopback
        if not is_local and token is None and not arguments.allow_anyone:
            raise ServeError(
                f"host {arguments.host} is reached from other machines, but there is no token: give --token-file, set "
                f"{TOKEN_VARIABLE}, or say --allow-anyone"
            )
        choice = choose_runtime(arguments.runtime)
        network, settings = load_model(arguments.model, runtime=choice.engine)
        signal.signal(signal.SIGTERM, _interrupt)
        # Uploads go into one private folder, which is removed at the end even if a request is still running.
        with (
            tempfile.TemporaryDirectory(prefix="tumour-search-", ignore_cleanup_errors=True) as folder,
            Batcher(network, arguments.batching) as batcher,
        ):
            server = make_server(arguments, batcher, settings, folder=Path(folder), token=token, is_local=is_local)
            shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
            print(f"runtime: {choice}")
            print(f"Serving {arguments.model} on http://{shown}:{port} (Ctrl-C ends it)", flush=True)
            server.run(sockets=[listener])


def make_server(
    arguments: Arguments, network: Network, settings: Settings, *, folder: Path, token: str | None, is_local: bool
) -> "uvicorn.Server":
    """Return a server for a network that many threads may call at once.

    Args:
        folder: Holds what clients send while it is needed.
        token: What clients must send; None if they need none.
        is_local: Whether only this machine can reach the service.

    Raises:
        ServeError: FastAPI or uvicorn is not installed.
    """
    try:
        import uvicorn  # imported late, so that mistakes in the arguments are reported without the `serve` extra too

        from model.serve.guard import Connection
        from model.serve.service import build_service
    except ImportError as error:
        raise ServeError(f"serving needs {error.name}: pip install 'tumour-search[serve]'") from error
    service = build_service(
        arguments.model.resolve().name,
        network,
        settings,
        folder=folder,
        limits=arguments.limits,
        max_batch=arguments.batching.max_batch,
        token=token,
        is_local=is_local,
    )
    config = uvicorn.Config(
        service,
        loop="asyncio",
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=arguments.limits.max_requests + SPARE_CONNECTIONS,
        timeout_keep_alive=math.ceil(arguments.limits.timeout_seconds),
        timeout_graceful_shutdown=1,  # of the two seconds within which Ctrl-C must end the service
    )
    return uvicorn.Server(config)


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


def read_token(path: Path | None) -> str | None:
    """Return the bearer token in the file or, without a file, in the environment; None if there is neither.

    Raises:
        ServeError: The file cannot be read, or the token is too short or holds characters that a header cannot carry.
            The message does not show the token.
    """
    try:
        text = os.environ.get(TOKEN_VARIABLE) if path is None else path.read_text()
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        raise ServeError(f"token file {path} cannot be read ({error.strerror or error}); check --token-file") from error
    if text is None:
        return None
    if not re.fullmatch(rf"[A-Za-z0-9._~+/-]{{{MIN_TOKEN_LENGTH},}}=*", text.strip()):
        raise ServeError(
            f"the token in {path or TOKEN_VARIABLE} is not legal: it must be at least {MIN_TOKEN_LENGTH} letters, "
            "digits or any of . _ ~ + / -, such as `openssl rand -hex 32` prints"
        )
    return text.strip()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
