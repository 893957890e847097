"""Connect to the Ray cluster that RAY_ADDRESS names, or start Ray on this machine for one command."""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray

from data.errors import UserError
from search.cluster.capacity.usable_cpus import usable_cpus
from search.cluster.ray_internals import UNDOCUMENTED_SETTINGS, resolve_address, silence_raylets
from search.cluster.signals import keep_sigterm_handler

RAY_SETTINGS = UNDOCUMENTED_SETTINGS | {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning in workers
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the search writes its own table; Tune's loggers would take time
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is handled in stop_request.py
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",  # do not wait for a lane in the middle of an epoch
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",  # Tune's own state is written once, at the end: nothing is resumed from it
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the search prints one line of its own for a lost leg
    "RAY_AIR_NEW_OUTPUT": "0",
}
"""Environment variables of the driver and of all workers."""

NO_API_SERVER = "http://127.0.0.1:1"
"""An address where nothing listens, for a Ray that has no API server."""

LEGAL_ADDRESSES = "HOST:PORT, ray://HOST:PORT, auto or local"

CONNECT_SECONDS = 10.0
"""How long the head of a cluster may take to accept a connection."""


@contextmanager
def ray_session() -> Iterator[Path | None]:
    """Connect to the cluster that RAY_ADDRESS names, or start Ray on this machine; disconnect at the end.

    Yield the folder of Ray's log files on this machine, which have the output of this machine's workers; None if Ray
    does not report it, as through a client (`ray://`).

    Raises:
        UserError: There is no cluster at RAY_ADDRESS.
    """
    os.environ.update(RAY_SETTINGS)
    silence_raylets()
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # it would count lost legs as failed trials
    folder = _connect(os.environ.get("RAY_ADDRESS"))
    try:
        yield folder
    finally:
        ray.shutdown()


def _connect(address: str | None) -> Path | None:
    """Connect to Ray, and return the folder of its log files, or None if Ray does not report it."""
    try:
        api_server = api_server_variable(address)
        if address:
            _check_reachable(address, api_server.get("RAY_API_SERVER_ADDRESS"))
        with keep_sigterm_handler(), inherited(api_server):
            context = ray.init(
                address=address or "local",
                num_cpus=None if address else usable_cpus(),  # Ray itself counts those of the machine
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=None if address else False,
                # Workers of a Ray that starts here inherit the environment.
                runtime_env={"env_vars": RAY_SETTINGS | api_server} if address else None,
            )
    except ConnectionError as error:
        hint = "" if "RAY_AUTH_MODE" in os.environ else " (one that requires a token needs RAY_AUTH_MODE=token)"
        raise UserError(f"RAY_ADDRESS is {address!r}, but no Ray cluster answers there{hint}: {error}") from error
    session = getattr(context, "address_info", {}).get("session_dir")
    return Path(session) / "logs" if session else None


def api_server_variable(address: str | None) -> dict[str, str]:
    """Return the environment variable that tells workers the address of their own cluster's API server, by name.

    Once a second, Ray Train asks an API server whether its controller is alive, and releases its workers' resources if
    not. Without the variable it would ask the server that the shell's RAY_API_SERVER_ADDRESS names, or that of the
    newest Ray on the machine, and either may belong to another cluster.

    Args:
        address: RAY_ADDRESS; None if it is not set.

    Raises:
        UserError: `address` is not an address.
        ConnectionError: It is "auto", and no Ray runs on this machine.
    """
    if address and "://" in address:  # through a client, workers find the cluster that they are in
        return {}
    try:
        server = resolve_address(address) if address else None
    except ValueError as error:
        raise UserError(f"RAY_ADDRESS is {address!r}, but must be {LEGAL_ADDRESSES}: {error}") from error
    return {"RAY_API_SERVER_ADDRESS": server or NO_API_SERVER}


def _check_reachable(address: str, server: str | None) -> None:
    """Check that something listens at a cluster's address, because otherwise `ray.init` would try for minutes.

    Args:
        address: RAY_ADDRESS.
        server: The cluster's HOST:PORT; None for a client's address, for which Ray itself times out.

    Raises:
        UserError: `address` is not an address.
        ConnectionError: Nothing listens there.
    """
    if server is None and not address.startswith("ray://"):
        raise UserError(f"RAY_ADDRESS is {address!r}, but must be {LEGAL_ADDRESSES}")
    if server in (None, NO_API_SERVER):
        return
    host, _, port = server.rpartition(":")
    if not port.isdecimal():
        raise UserError(f"RAY_ADDRESS is {address!r}, but must be {LEGAL_ADDRESSES}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise ConnectionError(str(error)) from error


@contextmanager
def inherited(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that start during the block, and restore the earlier values."""
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
