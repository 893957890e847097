"""All uses of private names and undocumented settings of Ray for connecting to it, starting it, and ending it.

See search/cluster/ray_internals.py.
"""

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from ray._private import grpc_utils, node, ray_constants, services, worker

UNDOCUMENTED_SETTINGS = {
    # Lanes watch for preemption themselves. Ray Train's own watcher takes an actor for each group, and restarts groups.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Otherwise a lane that is still running after Ctrl-C fills the screen with its last error.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    # A Ray that the search starts itself would start a worker process for every core; lanes need a few.
    "RAY_prestart_worker_first_driver": "0",
    # Otherwise 15: beside two processes of the lowest priority, an epoch takes 1.6 times as long (LOG.md, 2026-11-30).
    "RAY_worker_niceness": "0",
    # Otherwise 30, which a busy machine exceeds when it starts Ray.
    "RAY_gcs_server_port_wait_time_s": "120",
    "RAY_raylet_start_wait_time_s": "120",
}
"""Environment variables that Ray reads but does not document."""

LOOPBACK_SETTINGS = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""The environment of all processes of a Ray that starts `on_loopback`."""

HEAD_METHOD = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""Only the head of a cluster answers this method."""


def silence_raylets() -> None:
    """Keep the driver from printing the messages of raylets, which are a screen of yellow text for every lost worker.

    The same text is in Ray's log files, and the search prints one line of its own for a loss. The documented
    RAY_DEDUP_LOGS_SKIP_REGEX is read when `ray` is imported, before the program can set it.
    """
    worker._worker_logs_enabled = False


def resolve_address(address: str) -> str | None:
    """Return "HOST:PORT" of the cluster at an address such as "auto"; None for "local".

    `ray.init` resolves an address too, but an environment variable that workers inherit must be set before it.

    Raises:
        ValueError: `address` is not an address.
        ConnectionError: It is "auto", and no Ray runs on this machine.
    """
    return services.canonicalize_bootstrap_address(address)


def call_head(server: str, *, seconds: float) -> str:
    """Return the name of gRPC's status for a call of HEAD_METHOD; no public function calls it."""
    import grpc

    with cast("Any", grpc_utils.init_grpc_channel(server, ray_constants.GLOBAL_GRPC_OPTIONS)) as channel:
        try:
            channel.unary_unary(HEAD_METHOD)(b"", timeout=seconds)
        except grpc.RpcError as error:
            return error.code().name  # pyright: ignore[reportAttributeAccessIssue] (gRPC's own errors have it)
    return "OK"


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let a Ray that is started during the block have the loopback address, as on macOS and Windows.

    On Linux it has an address that other machines reach. It listens on all networks then, and is lost when the address
    changes, as that of a laptop does. No public option prevents that: Ray replaces 127.0.0.1, given as the address of
    its node, by the other one.
    """
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


@contextmanager
def known_while_starting() -> Iterator[None]:
    """Let the functions below find the Ray that is started during the block, before Ray itself has a name for it."""
    before, node.Node = node.Node, _KnownNode
    try:
        yield
    finally:
        node.Node, _KnownNode.newest = before, None


class _KnownNode(node.Node):
    newest: "_KnownNode | None" = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        _KnownNode.newest = self
        super().__init__(*arguments, **options)


def find_ended_daemons() -> dict[str, int]:
    """Return the exit status of each process, by name, that has ended of the Ray that this process has started.

    No public API tells; without a GCS server, each call waits for a minute, and then ends this process."""
    # A node whose start has only begun has no processes.
    started = getattr(_KnownNode.newest or worker._global_node, "all_processes", {})
    found = {name: [one.process for one in processes] for name, processes in [*started.items()]}
    ended = ((name, process.poll()) for name, processes in found.items() for process in processes)
    return {name: status for name, status in ended if status is not None}


def abandon_ray() -> None:
    """Kill the Ray that this process has started, without a goodbye at the exit that would wait for an answer."""
    if started := _KnownNode.newest or worker._global_node:
        started.kill_all_processes(check_alive=False, allow_graceful=False)
    atexit.unregister(worker.shutdown)
