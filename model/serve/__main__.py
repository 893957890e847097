"""Serve a model over HTTP: `python -m model.serve MODEL`.

FastAPI on uvicorn runs in one process, with the runtime that `model.predict` uses, on any laptop. Ray Serve would bring
a cluster to a machine that only predicts, and only its batching would be used, which takes a hundred lines
(model.serve.batching).
"""

import ipaddress
import logging
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import tyro

from data.arguments import parse_arguments
from data.command import run_command
from data.errors import UserError
from data.readers.volumes.cases.channels import parse_renames
from model.inference.runtime import Runtime, choose_runtime, load_model
from model.inference.volume import Network
from model.predict.volume_files import InputOptions
from model.serve.access_token import TOKEN_VARIABLE, read_token
from model.serve.batching import BatchConfig, Batcher
from model.serve.limits import Limits, ServeError
from model.serve.request_folder import request_folder
from model.serve.server import listen, make_server
from model.settings import Settings

if TYPE_CHECKING:
    import uvicorn


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Serve an exported model over HTTP: send an image or a NIfTI file, receive the mask. For research, not for
    diagnosis."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """An exported model.onnx, or the folder that holds it."""

    runtime: Runtime = "auto"
    """Library that runs the network. `auto`: OpenVINO in bfloat16 if it is installed, the CPU computes in bfloat16 and
    there is no CUDA; else ONNX Runtime in float32. In bfloat16 a probability may differ by a few thousandths from that
    of model.predict."""

    host: str = "127.0.0.1"
    """Address to listen on. By default only this machine can connect; with 0.0.0.0, every machine can."""

    port: int = 8080
    """Port to listen on; 0 picks a free one, which is printed."""

    token_file: Path | None = None
    """File that holds the bearer token which clients must send. Without it, the environment variable
    TUMOUR_SEARCH_TOKEN is used; without both, anyone who reaches the service may use it."""

    allow_anyone: bool = False
    """Listen to other machines without a token. Requests and tokens are not encrypted: put a proxy with TLS in
    front."""

    modality: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """What volumes call a channel of the model, such as `t1c=pink`. Common spellings need no such help, and a request
    may name the channels itself, by the names of its form's fields."""

    trust_voxels: bool = False
    """Whether volumes of a request that have one shape match voxel by voxel even where their affines differ."""

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
                f"host {arguments.host} can be reached from other machines, but there is no token: give --token-file, "
                f"set {TOKEN_VARIABLE}, or give --allow-anyone"
            )
        choice = choose_runtime(arguments.runtime)
        network, settings = load_model(arguments.model, runtime=choice.engine)
        signal.signal(signal.SIGTERM, _interrupt)
        with request_folder() as folder, Batcher(network, arguments.batching) as batcher:
            server = prepare_server(arguments, batcher, settings, folder=folder, token=token, is_local=is_local)
            shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
            print(f"runtime: {choice}")
            print(f"Serving {arguments.model} on http://{shown}:{port} (Ctrl-C ends it)", flush=True)
            server.run(sockets=[listener])


def prepare_server(
    arguments: Arguments, network: Network, settings: Settings, *, folder: Path, token: str | None, is_local: bool
) -> "uvicorn.Server":
    """Return a server that is ready to run, for a network that many threads may call at once.

    Args:
        folder: Where the files of a request are kept until it is answered.
        token: The bearer token that clients must send; None if they need none.
        is_local: Whether only this machine can reach the service.

    Raises:
        ServeError: FastAPI or uvicorn is not installed.
    """
    try:
        from model.serve.service import build_service
    except ImportError as error:
        raise ServeError(f"serving needs {error.name}: pip install -e '.[serve]'") from error
    service = build_service(
        arguments.model.resolve().name,
        network,
        settings,
        folder=folder,
        options=InputOptions(renames=parse_renames(arguments.modality), trust_voxels=arguments.trust_voxels),
        limits=arguments.limits,
        max_batch=arguments.batching.max_batch,
        token=token,
        is_local=is_local,
    )
    return make_server(service, arguments.limits)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
