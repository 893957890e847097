"""What the program uses of Ray without a promise: each test fails where Ray changes a name, a signature or a behaviour.

An upgrade of Ray begins here. The tests without a mark need no Ray that runs.
"""

import ast
import gc
import inspect
import io
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import _raylet, tune
from ray._private import node as ray_node
from ray._private import ray_constants, services, state, worker
from ray._private.node import Node
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2, gcs_service_pb2
from ray.exceptions import RayTaskError
from ray.train.v2._internal.constants import ENABLE_PREEMPTION_WATCHER_ENV_VAR
from ray.tune.experiment import Trial
from ray.util.placement_group import placement_group, remove_placement_group

from search.cluster import ray_internals
from search.cluster.notice import find_raylets
from search.cluster.ray_internals import (
    HEAD_RESOURCE,
    get_autoscaler_status,
    get_draining_nodes,
    get_free_resources,
    get_reported_machine_types,
    list_placement_groups,
)
from search.cluster.start.start_internals import (
    HEAD_METHOD,
    LOOPBACK_SETTINGS,
    UNDOCUMENTED_SETTINGS,
    on_loopback,
    resolve_address,
    silence_raylets,
)
from search.cluster.tune_internals import forget_results, next_checkpoint_name, read_trial_error, to_saved_checkpoint
from tests.support.ray_internals import StorageContext
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
PRIVATE = re.compile(
    r"ray[\w.]*\._|ray\.core\.generated|ray[\w.]*\._internal|\b_(storage|last_result|TrainingResult)\b"
    r"|\bpickled_error_file\b|__internal_head__"
)


def code_of(file: Path) -> str:
    """Return a module's code without comments and docstrings."""
    return ast.unparse(ast.parse(file.read_text()))


def private_imports(file: Path) -> list[str]:
    """Return the private modules and names of Ray that a module imports."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [
                name
                for name in names
                if re.search(r"\._|ray\.core|ray\.autoscaler\.(_|v2)|ray\.dashboard|ray\.scripts", name)
            ]
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if re.match(r"ray\.(\w+\.)*_", alias.name)]
    return found


def test_three_modules_of_the_program_use_private_names_of_ray():
    modules = [file for room in ("data", "model", "search") for file in (ROOT / room).rglob("*.py")]
    using = {
        file.name
        for file in modules
        if private_imports(file) or (re.search(r"\bray\b", code_of(file)) and PRIVATE.search(code_of(file)))
    }
    assert using == {"ray_internals.py", "start_internals.py", "tune_internals.py"}


def test_one_file_of_each_tests_folder_uses_private_names_of_ray():
    using = [file.relative_to(ROOT).as_posix() for file in (ROOT / "tests").rglob("*.py") if private_imports(file)]
    assert sorted(using) == [
        "tests/cluster/overlay.py",
        "tests/search/cluster/test_ray_internals.py",
        "tests/support/ray_internals.py",
    ]


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (state.state.get_draining_nodes, []),
        (state.state.available_resources_per_node, []),
        (state.state._connect_and_get_accessor, []),
        (state.state.get_cluster_config, []),
        (services.canonicalize_bootstrap_address, ["addr", "temp_dir"]),
        (Node.dead_processes, ["self"]),
        (Node.kill_all_processes, ["self", "check_alive", "allow_graceful", "wait"]),
        (tune.Trainable.save, ["self", "checkpoint_dir"]),
        (StorageContext._update_checkpoint_index, ["self", "metrics"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_private_functions_of_ray_take_what_they_are_given(function, parameters):
    assert list(inspect.signature(function).parameters) == parameters


def test_ray_reads_the_undocumented_settings():
    raylet = Path(ray.__file__).parent / "core" / "src" / "ray" / "raylet" / "raylet"
    content = raylet.read_bytes()
    [prestart, *_] = re.findall(rb"prestart_worker_first_driver", content)
    [niceness, *_] = re.findall(rb"worker_niceness", content)
    readers = {
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": ENABLE_PREEMPTION_WATCHER_ENV_VAR.encode(),
        "RAY_IGNORE_UNHANDLED_ERRORS": inspect.getsource(worker).encode(),
        "RAY_worker_niceness": b"RAY_" + niceness,
        "RAY_gcs_server_port_wait_time_s": inspect.getsource(ray_node).encode(),
        "RAY_raylet_start_wait_time_s": Path(_raylet.__file__).read_bytes(),
        "RAY_prestart_worker_first_driver": b"RAY_" + prestart,  # the raylet puts RAY_ in front of its settings
    }
    assert readers.keys() == UNDOCUMENTED_SETTINGS.keys()
    assert [name for name, text in readers.items() if name.encode() not in text] == []


def test_raylets_are_silent_after_they_were_silenced(monkeypatch):
    monkeypatch.setattr(worker, "_worker_logs_enabled", True)
    report = {"pid": "raylet", "ip": "10.0.0.7", "lines": ["a worker died"], "is_err": True, "job": None}
    loud, silent = io.StringIO(), io.StringIO()
    worker.print_worker_logs(report, loud)
    silence_raylets()
    worker.print_worker_logs(report, silent)
    assert ("a worker died" in loud.getvalue(), silent.getvalue()) == (True, "")


def test_ray_has_the_method_that_tells_a_cluster_from_another_server():
    messages: Any = gcs_service_pb2  # protobuf makes its content when it is imported
    methods = {
        f"/{service.full_name}/{method.name}"
        for service in messages.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert HEAD_METHOD in methods


def test_ray_that_starts_on_loopback_takes_no_other_address(monkeypatch):
    monkeypatch.setattr(worker, "_global_node", None)
    with on_loopback():
        assert services.get_node_ip_address() in ("127.0.0.1", "::1")
    assert {*LOOPBACK_SETTINGS} == {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR}  # the same, for Ray's other processes


def test_resolve_address_keeps_a_port_and_knows_local():
    assert resolve_address("10.0.0.7:6379") == "10.0.0.7:6379"
    assert resolve_address("local") is None
    with pytest.raises(ValueError, match="nonsense"):
        resolve_address("nonsense")


def test_refusals_of_an_autoscaler_are_read_from_its_reply():
    messages: Any = autoscaler_pb2  # protobuf makes its classes when it is imported
    state_of_autoscaler = messages.AutoscalingState(
        last_seen_cluster_resource_state_version=7,
        infeasible_gang_resource_requests=[messages.GangResourceRequest(details="ab12:PACK")],
    )
    reply = messages.GetClusterStatusReply(autoscaling_state=state_of_autoscaler)
    reply.cluster_resource_state.cluster_resource_state_version = 8
    status = ray_internals._to_status(reply.SerializeToString())
    assert (status.requested_version, status.seen_version, status.refused_groups) == (8, 7, {"ab12"})


class Saver(tune.Trainable):
    """Saves as Tune documents it."""

    def setup(self, config: dict[str, Any]) -> None: ...

    def step(self) -> dict[str, Any]:
        return {"val_dice": 0.5}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "state").write_text("x")


class SelfSaver(Saver):
    """Saves as a lane does."""

    def save(self, checkpoint_dir: str | None = None) -> Any:
        folder = f"/tmp/{next_checkpoint_name(self)}"
        return to_saved_checkpoint(self, tune.Checkpoint(path=folder))


class Storage(StorageContext):
    """Asks no running Ray for its folders."""

    @property
    def trial_working_directory(self) -> str:
        return "/tmp"

    @property
    def experiment_driver_staging_path(self) -> str:
        return f"{self.storage_fs_path}/staging"


def test_a_self_saved_checkpoint_is_what_tunes_own_save_returns(tmp_path):
    made = []
    for kind in (Saver, SelfSaver):
        storage = Storage(storage_path=str(tmp_path), experiment_dir_name=kind.__name__, trial_dir_name="trial")
        trainable = kind({}, storage=storage)
        trainable.train()
        made.append([trainable.save() for _ in range(2)])
    for theirs, ours in zip(*made, strict=True):
        assert type(ours) is type(theirs)
        assert vars(ours).keys() == vars(theirs).keys()
        assert Path(ours.checkpoint.path).name == Path(theirs.checkpoint.path).name
        assert ours.metrics["val_dice"] == theirs.metrics["val_dice"] == 0.5
        assert ours.metrics.keys() == theirs.metrics.keys()


def test_read_trial_error_knows_what_a_trainable_raised_and_said(tmp_path):
    storage = Storage(storage_path=str(tmp_path), experiment_dir_name="search", trial_dir_name="t000-1")
    trial = Trial("trainable", stub=True, storage=storage)
    trial.init_local_path()
    assert (read_trial_error(trial).text, read_trial_error(trial).cause) == ("", None)
    trial.handle_error(RayTaskError("step", "Traceback: a bad depth", KeyError("depth")))
    error = read_trial_error(trial)
    assert "Traceback: a bad depth" in error.text
    assert repr(error.cause) == repr(KeyError("depth"))


def test_tune_keeps_results_of_a_trial_until_they_are_forgotten(tmp_path):
    storage = Storage(storage_path=str(tmp_path), experiment_dir_name="search", trial_dir_name="t000-1")
    trial = Trial("trainable", stub=True, storage=storage)
    trainable = Saver({}, storage=storage)
    trial.update_last_result(trainable.train())
    trial.on_checkpoint(trainable.save())
    assert trial.last_result["val_dice"] == trial.metric_analysis["val_dice"]["max"] == 0.5
    assert trial.checkpoint is not None
    assert min(map(len, trial.get_json_state())) > 1000
    forget_results(trial)
    assert trial.last_result == {"trial_id": trial.trial_id}  # which the property itself adds
    assert (trial.metric_analysis, trial.metric_n_steps, trial.checkpoint) == ({}, {}, None)
    assert trial.get_json_state() == ("{}", "{}")


sockets_may_stay_open = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Cluster does not close all its sockets."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A Ray of a head without cores and a node with two, to which this process is connected."""
    without = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}  # seconds less
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0} | without)
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    collect_sockets()
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    collect_sockets()


def collect_sockets() -> None:
    """Collect the sockets that Cluster does not close, so that no test is blamed for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def node_ids() -> tuple[str, str]:
    """Return the ids of the head and of the other node."""
    [head] = [node["NodeID"] for node in ray.nodes() if HEAD_RESOURCE in node["Resources"]]
    [other] = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != head]
    return head, other


@ray.remote(num_cpus=0)
class Booker:
    def book(self) -> None:
        placement_group([{"memory": 1.0}], name="an actor's")


@pytest.mark.cluster
@sockets_may_stay_open
@pytest.mark.slow
def test_ray_tells_what_is_free_and_who_holds_the_rest(cluster):
    head, other = node_ids()
    assert get_free_resources()[other]["CPU"] == 2
    assert "CPU" not in get_free_resources()[head]
    held, waiting = placement_group([{"CPU": 1.0}], name="held"), placement_group([{"CPU": 4.0}], name="waiting")
    assert held.wait(30)
    wait_until(lambda: get_free_resources()[other].get("CPU") == 1)
    groups = {group.name: group for group in list_placement_groups()}
    assert groups.keys() == {"held", "waiting"}
    assert [(group.is_created, group.is_pending) for group in groups.values()].count((True, False)) == 1
    assert groups["held"].is_created
    assert groups["waiting"].is_pending
    assert not groups["held"].is_orphan, "a driver is no actor that could be dead"
    assert [(bundle.node_id, bundle.resources) for bundle in groups["held"].bundles] == [(other, {"CPU": 1.0})]
    groups["held"].remove()
    remove_placement_group(waiting)
    wait_until(lambda: list(list_placement_groups()) == [])


@pytest.mark.cluster
@sockets_may_stay_open
@pytest.mark.slow
def test_ray_tells_of_a_placement_group_that_its_actor_is_dead(cluster):
    booker: Any = Booker.remote()
    ray.get(booker.book.remote())
    assert [(group.name, group.is_orphan) for group in list_placement_groups()] == [("an actor's", False)]
    ray.kill(booker)
    wait_until(lambda: [group.is_orphan for group in list_placement_groups()] == [True])
    for group in list_placement_groups():
        group.remove()


@pytest.mark.cluster
@sockets_may_stay_open
@pytest.mark.slow
def test_ray_answers_without_an_autoscaler(cluster):
    assert get_reported_machine_types() == []
    assert get_autoscaler_status().refused_groups == frozenset()


@pytest.mark.cluster
@sockets_may_stay_open
@pytest.mark.slow
def test_a_node_is_found_on_its_machine_and_drains_when_it_is_told(cluster):
    _, other = node_ids()
    ours = {raylet.node_id: raylet for raylet in find_raylets() if raylet.gcs_address == cluster.address}
    assert ours.keys() == {other}, "the head's is left out"
    assert get_draining_nodes() == frozenset()
    booked = placement_group([{"CPU": 1.0}])  # an idle node would end at once
    assert booked.wait(30)
    code = f"""
import time
from search.cluster.ray_internals import drain_node
print(drain_node({other!r}, time.time() + 60, "a test", gcs_address={cluster.address!r}))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "None\n", "another process, which is not connected, was refused"
    wait_until(lambda: get_draining_nodes() == {other})
    remove_placement_group(booked)
