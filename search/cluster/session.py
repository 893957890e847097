"""Connect to the Ray cluster that RAY_ADDRESS names, or start Ray on this machine for one command."""

import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ray

from data.errors import UserError
from search.cluster.capacity.machines import check_machines
from search.cluster.capacity.usable_cpus import usable_cpus
from search.cluster.daemons import RayEnded, watch_daemons
from search.cluster.signals import keep_sigterm_handler
from search.cluster.start.address import api_server_variable, find_cluster
from search.cluster.start.choice import names_cluster
from search.cluster.start.home import home_variables
from search.cluster.start.shared_memory import describe_shortage, free_bytes, store_options
from search.cluster.start.start_internals import (
    LOOPBACK_SETTINGS,
    UNDOCUMENTED_SETTINGS,
    known_while_starting,
    on_loopback,
    silence_raylets,
)
from search.cluster.start.temp_folder import ray_folder, temporary_folder
from search.cluster.start.working_directory import check_working_directory
from search.storage.storage_path import StoragePath

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

JOB_SETTINGS = {"RAY_OVERRIDE_JOB_RUNTIME_ENV": "1"}
"""Without it, Ray refuses a driver in one of its jobs: both set RAY_worker_niceness, to the same value."""

LENIENT = {"PYTHONWARNINGS": ""}
"""With "error", a warning of a library that Ray's own processes import would end them."""


@contextmanager
def ray_session(remedy: str = "run the command again", *, out: StoragePath | None = None) -> Iterator[Path | None]:
    """Connect to the cluster that RAY_ADDRESS names, or start Ray on this machine; disconnect at the end.

    Yield the folder of Ray's log files on this machine, which have the output of this machine's workers; None if Ray
    does not report it.

    Args:
        remedy: What the user can do if Ray is killed while it starts; the end of a sentence.
        out: The folder or bucket of all experiments, if a search begins: the machines of the cluster must be fit for
            it (search/cluster/capacity/machines.py).

    Raises:
        UserError: There is no cluster at RAY_ADDRESS, a machine of it is unfit for the search that begins, Ray
            cannot start on this machine, or its workers would not find this program.
    """
    check_working_directory()
    starts_here = not names_cluster()
    os.environ.update(RAY_SETTINGS | home_variables(os.environ, starts_ray=starts_here))
    silence_raylets()
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # it would count lost legs as failed trials
    with ray_folder() if starts_here else nullcontext() as folder:
        context = _start(folder, remedy) if starts_here else _connect(os.environ["RAY_ADDRESS"])
        session = getattr(context, "address_info", {}).get("session_dir")
        has_ended = False
        try:
            if out is not None and not starts_here:
                check_machines(out)
            yield Path(session).resolve() / "logs" if session else None
        except RayEnded:
            has_ended = True
            raise
        finally:
            if not has_ended:
                ray.shutdown()


def _connect(address: str) -> Any:
    """Connect to the cluster at an address."""
    server = find_cluster(address)
    api_server = api_server_variable(server)
    try:
        with keep_sigterm_handler(), inherited(api_server | JOB_SETTINGS):
            return ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": RAY_SETTINGS | api_server},
            )
    except ConnectionError as error:
        raise UserError(
            f"RAY_ADDRESS is {address!r}, and a Ray cluster answers there, but this machine cannot connect to it "
            f"({error.__cause__ or error}); run the search on a machine of the cluster"
        ) from error


def _start(folder: Path | None, remedy: str) -> Any:
    """Start Ray on this machine; on one that is busy, try again once.

    Args:
        folder: Where its sockets and other files are; None: where Ray chooses.
        remedy: As in `ray_session`.
    """
    start = time.monotonic()
    try:
        return _try_to_start(folder, remedy)
    except Exception as error:
        if not _may_be_slow(error):
            raise
        waited = time.monotonic() - start
        print(f"note: Ray did not start in {waited:.0f} s; trying again", file=sys.stderr)
        return _start_again(folder, remedy)


def _start_again(folder: Path | None, remedy: str) -> Any:
    try:
        return _try_to_start(folder, remedy)
    except Exception as error:
        if not _may_be_slow(error):
            raise
        logs = "" if folder else f", and read {temporary_folder()}/ray/session_latest/logs"
        raise UserError(
            f"Ray does not start on this machine ({_last_line(error)}): other programs probably keep it busy; look at "
            f"`top`, try again when they have ended{logs}"
        ) from error


def _may_be_slow(error: Exception) -> bool:
    """Return whether a start of Ray may have failed because the machine is busy; Ray has no exception for it."""
    return isinstance(error, TimeoutError) or not isinstance(error, OSError | ValueError | RayEnded)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__


def _try_to_start(folder: Path | None, remedy: str) -> Any:
    free, workers = free_bytes(), inherited(api_server_variable(None) | LOOPBACK_SETTINGS | LENIENT)
    watch = watch_daemons(remedy, only_by_others=True)
    with keep_sigterm_handler(), workers, on_loopback(), known_while_starting(), watch:
        context = ray.init(
            address="local",
            num_cpus=usable_cpus(),  # Ray itself counts those of the machine
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False,
            _temp_dir=str(folder) if folder else None,
            **store_options(),
        )
        store = ray.cluster_resources().get("object_store_memory", 0)
    if shortage := describe_shortage(free, store):
        print(f"note: {shortage}", file=sys.stderr)
    return context


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
