"""A model as a small HTTP service: `python -m model.serve MODEL`.

FastAPI on uvicorn: one process with the runtime that `model.predict` needs, on any laptop. Ray Serve would bring a
cluster to a machine that only predicts, and its batching is the hundred lines of `model.serve.batching`.
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
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from model.inference.runtime import RUNTIMES, choose_runtime, load_model
from model.inference.volume import Network
from model.serve.batching import BatchConfig, Batcher
from model.serve.limits import Limits, ServeError
from model.settings import ModelError, Settings

if TYPE_CHECKING:
    import uvicorn

TOKEN_VARIABLE = "TUMOUR_SEARCH_TOKEN"

MIN_TOKEN_LENGTH = 16
"""Characters: of hexadecimal digits that is 64 bits, beyond guessing over a network."""

SPARE_CONNECTIONS = 64
"""Beyond those of requests that are worked on: for pages, health checks and refusals."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Serve an exported model over HTTP: send an image or a NIfTI file, receive the mask. For research, not for
    diagnosis."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """An exported model.onnx, or the folder that holds it."""

    runtime: Literal[RUNTIMES] = "auto"
    """What runs the network. `auto`: OpenVINO in bfloat16 where it is installed and the processor computes in bfloat16,
    and there is no CUDA; else ONNX Runtime in float32. In bfloat16 a probability may differ by a few thousandths from
    that of model.predict."""

    host: str = "127.0.0.1"
    """Address to listen at; the default is reached from this machine alone, 0.0.0.0 from everywhere."""

    port: int = 8080
    """Port to listen at; 0 takes a free one, which is printed."""

    token_file: Path | None = None
    """File that holds the bearer token which clients must send. Without it, the environment variable
    TUMOUR_SEARCH_TOKEN; without both, anyone who reaches the service may use it."""

    allow_anyone: bool = False
    """Listen to other machines without a token. What is sent, and the token, are not encrypted: put a proxy with TLS
    before it."""

    limits: Annotated[Limits, tyro.conf.arg(name="")] = field(default_factory=Limits)
    batching: Annotated[BatchConfig, tyro.conf.arg(name="")] = field(default_factory=BatchConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ServeError(f"port is {self.port}, but must be 0 to 65535")


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM; a mistake of the caller ends it with one sentence and exit status 2."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its news are ours
    try:
        _serve(tyro.cli(Arguments, prog="python -m model.serve", args=argv))
    except (ModelError, ServeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except MemoryError:
        print("error: the memory does not suffice for this model; close other programs", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)


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
        network, settings = load_model(arguments.model, runtime=choice.name)
        signal.signal(signal.SIGTERM, _interrupt)
        # What clients send lies below one private folder, which is gone at the end even if a request is under way.
        with (
            tempfile.TemporaryDirectory(prefix="tumour-search-", ignore_cleanup_errors=True) as folder,
            Batcher(network, arguments.batching) as batcher,
        ):
            server = make_server(arguments, batcher, settings, folder=Path(folder), token=token, is_local=is_local)
            shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
            print(f"runtime: {choice.name}, {choice.precision}, on the {choice.device}")
            print(f"Serving {arguments.model} on http://{shown}:{port} (Ctrl-C ends it)", flush=True)
            server.run(sockets=[listener])


def make_server(
    arguments: Arguments, network: Network, settings: Settings, *, folder: Path, token: str | None, is_local: bool
) -> "uvicorn.Server":
    """Return what serves a network that many threads may call at once; what clients send lies in the folder meanwhile.

    Raises:
        ServeError: FastAPI or uvicorn is not installed.
    """
    try:
        import uvicorn  # here, so that a mistake in the arguments is said where only `infer` is installed, too

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
        timeout_graceful_shutdown=1,  # of the two seconds that Ctrl-C may take
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the host's first address.

    Raises:
        ServeError: There is no such address, or the port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of connections that have ended
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
    """Return the bearer token in the file or, without one, in the environment; None if there is none either.

    Raises:
        ServeError: It is too short, or holds what a header cannot carry. The message does not show it.
    """
    try:
        text = os.environ.get(TOKEN_VARIABLE) if path is None else path.read_text()
    except UnicodeDecodeError:
        text = ""
    if text is None:
        return None
    if not re.fullmatch(rf"[A-Za-z0-9._~+/-]{{{MIN_TOKEN_LENGTH},}}=*", text.strip()):
        raise ServeError(
            f"the token in {path or TOKEN_VARIABLE} is none: it must be at least {MIN_TOKEN_LENGTH} letters, digits or "
            "any of . _ ~ + / -, such as `openssl rand -hex 32` prints"
        )
    return text.strip()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
