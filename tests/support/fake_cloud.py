"""A Ray with an autoscaler that adds machines, which are processes on this machine in Ray's own fake cloud."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

from tests.support.process_tree import command_lines
from tests.support.ray_internals import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE

IDLE_MINUTES = 0.1
"""If it were shorter, a node on a busy machine could be removed before a lane has started on it."""


def cluster_file(kinds: dict[str, Any], *, max_workers: int, address: str = "") -> dict[str, Any]:
    """Return the content of a cluster file with these types of machines and a head without cores."""
    head = {FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
    provider = {
        "type": "external",  # the type "fake_multinode" needs a file that Ray's wheels lack
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": address,
        "head_node_id": FAKE_HEAD_NODE_ID,
        "launch_multiple": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    lists = ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands")
    more = ("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    return {
        "cluster_name": "fake",
        "max_workers": max_workers,
        "idle_timeout_minutes": IDLE_MINUTES,
        "upscaling_speed": 1.0,
        "provider": provider,
        "available_node_types": head | {name: kind | {"node_config": {}} for name, kind in kinds.items()},
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "docker": {},
        "auth": {},
        **{name: [] for name in (*lists, *more)},
    }


@contextmanager
def fake_cloud(kinds: dict[str, Any], *, max_workers: int) -> Iterator[str]:
    """Start a head that can add machines of these types but has none yet, and yield its address."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # not tmp_path, because the path of a socket has at most 107 bytes
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    address = f"{ray.util.get_node_ip_address()}:{port}"
    file = folder / "cluster.json"
    file.write_text(json.dumps(cluster_file(kinds, max_workers=max_workers, address=address)))
    settings = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    }
    options = [f"--port={port}", "--num-cpus=0", "--num-gpus=0", "--include-dashboard=false", f"--temp-dir={folder}"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--autoscaling-config={file}", *options]
    try:
        started = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
        assert started.returncode == 0, started.stdout + started.stderr
        yield address
    finally:
        for process, line in command_lines().items():
            if str(folder) in line:
                with suppress(ProcessLookupError):  # it ended in between
                    os.kill(process, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
