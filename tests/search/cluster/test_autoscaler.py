"""What an autoscaler is asked for, by Ray's own scheduler of machines and by its autoscaler in a fake cloud."""

import re
import threading
import time
from pathlib import Path

import pytest
import ray
import yaml
from ray import cloudpickle, tune
from ray.util.placement_group import placement_group_table

from data.errors import UserError
from search.cluster.capacity import autoscaler
from search.cluster.capacity.autoscaler import plan_on_cluster, read_machine_types
from search.cluster.capacity.lane_capacity import LaneCapacity
from search.cluster.capacity.lane_plan import MachineType, plan_lanes
from search.cluster.capacity.placement_groups import CapacityRequests
from search.cluster.engine import run_search
from search.cluster.session import RAY_SETTINGS
from search.config import SearchConfig
from tests.support import closed_form_lane, fakes
from tests.support.fake_cloud import cluster_file, fake_cloud
from tests.support.ray_internals import count_launched_machines

GPU_MACHINE = {"CPU": 4, "GPU": 1}
HEAD = {"CPU": 0.0, "memory": 1e9}


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({"trials": 8, "gpus_per_worker": 0.25}, GPU_MACHINE, 2),
        ({"trials": 8, "gpus_per_worker": 0.25, "max_concurrent": 4}, GPU_MACHINE, 1),
        ({"trials": 3}, GPU_MACHINE, 3),
        ({"trials": 3, "workers_per_trial": 2}, GPU_MACHINE, 6),
        ({"trials": 3, "workers_per_trial": 2}, {"CPU": 32, "GPU": 4}, 2),
        ({"trials": 4, "workers_per_trial": 2, "gpus_per_worker": 0.5}, GPU_MACHINE, 4),
        ({"trials": 20, "gpus_per_worker": 0.1}, {"CPU": 16, "GPU": 1}, 2),
        ({"trials": 9, "gpus_per_worker": 1 / 3}, GPU_MACHINE, 3),
        ({"trials": 5, "gpus_per_worker": 2}, {"CPU": 32, "GPU": 4}, 3),
        ({"trials": 8, "gpus_per_worker": 0}, {"CPU": 16}, 2),
    ],
    ids=[
        "quarters", "at most four", "whole GPUs", "two workers on two machines", "two workers on one",
        "groups of halves", "tenths", "thirds", "two GPUs each", "no GPU",
    ],
)  # fmt: skip
def test_a_search_on_a_bare_head_gets_exactly_the_machines_that_it_fills(options, kind, expected):
    config = SearchConfig(**options)
    lanes = plan_lanes(config, [HEAD], [MachineType(resources=kind, max_count=100)])
    asked = []
    requests = type("Requests", (CapacityRequests,), {"ask_for": staticmethod(asked.append)})([])
    places = LaneCapacity(
        lanes,
        num_trials=config.trials,
        max_concurrent=config.max_concurrent,
        on_change=lambda *told: None,
        requests=requests,
        nodes=list,
    )
    assert not places.has_room(num_busy=0, num_begun=0)
    assert count_launched_machines(asked[0] * [lanes.num_workers * [lanes.worker_resources()]], kind) == expected


def test_addable_machines_are_the_worker_types_of_the_clusters_file():
    kinds = {"gpu": {"resources": GPU_MACHINE, "max_workers": 9}, "never": {"resources": {"CPU": 1}, "max_workers": 0}}
    assert read_machine_types(cluster_file(kinds, max_workers=4)) == [MachineType(resources=GPU_MACHINE, max_count=4)]
    ours = yaml.safe_load((Path(__file__).parents[3] / "cluster.yaml").read_text())
    assert any(found.resources.get("GPU") for found in read_machine_types(ours))


def test_lanes_on_a_bare_head_are_planned_with_addable_machines():
    coming = [MachineType(resources={"CPU": 16, "GPU": 4}, max_count=2)]
    found = plan_lanes(SearchConfig(trials=100), [HEAD], coming)
    assert (found.num_lanes, found.cpus_per_worker, found.gpus_per_worker) == (8, 4, 1.0)
    idle = plan_lanes(SearchConfig(trials=100, gpus_per_worker=0), [{"CPU": 2.0}], coming)
    assert (idle.num_lanes, idle.cpus_per_worker) == (2, 1), "what is there is used, not waited beside"


def test_a_trial_that_is_larger_than_every_machine_is_refused_with_their_sizes():
    message = (
        "a trial needs 1 workers of 8 CPU and 2 GPU, but the nodes have 0 CPU and 0 GPU, and an autoscaler can add "
        "3 of 4 CPU and 1 GPU: lower --workers-per-trial, --cpus-per-worker or --gpus-per-worker"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        plan_lanes(SearchConfig(gpus_per_worker=2), [HEAD], [MachineType(resources=GPU_MACHINE, max_count=3)])


@pytest.fixture(scope="module")
def cloud():
    """The address of a Ray whose autoscaler can add four machines with a GPU each; this process is connected to it."""
    for module in (closed_form_lane, fakes):  # workers cannot import the tests
        cloudpickle.register_pickle_by_value(module)
    kinds = {"gpu": {"resources": GPU_MACHINE | {"object_store_memory": 80_000_000}, "max_workers": 4}}
    with fake_cloud(kinds, max_workers=4) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        ray.init(address=address, log_to_driver=False, runtime_env={"env_vars": RAY_SETTINGS})
        yield address
        ray.shutdown()


def num_alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())


@pytest.mark.slow  # what Ray's scheduler would start, the tests above ask it without a cluster
@pytest.mark.cluster
def test_an_autoscaler_starts_two_machines_for_quarter_gpus_and_ends_them(cloud, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(autoscaler, "BOOTSTRAP", tmp_path / "bootstrap.yaml")
    kinds = {"gpu": {"resources": GPU_MACHINE, "max_workers": 4}}
    autoscaler.BOOTSTRAP.write_text(yaml.safe_dump(cluster_file(kinds, max_workers=4)))
    config = SearchConfig(
        out=tmp_path, name="grown", trials=8, max_epochs=9, scheduler="none", tracking="off", gpus_per_worker=0.25
    )
    config.folder.mkdir()
    lanes = plan_on_cluster(config)
    assert (lanes.num_lanes, lanes.cpus_per_worker) == (8, 1)
    trainable = tune.with_resources(
        tune.with_parameters(closed_form_lane.ClosedFormLane, max_epochs=9, epoch_seconds=0.1), lanes.actor_resources()
    )
    counts, has_ended = [], threading.Event()

    def count() -> None:
        while not has_ended.wait(0.2):
            counts.append(num_alive())

    counting = threading.Thread(target=count)
    counting.start()
    rows = run_search(config, trainable, num_lanes=lanes.num_lanes, lanes=lanes)
    has_ended.set()
    counting.join()
    assert [len(row.epochs) for row in rows] == [9] * 8
    assert max(counts) == 3, "not the head and two machines"
    said = capsys.readouterr().out
    assert "waiting for resources: no machine has 1 CPU and 0.25 GPU; more are requested" in said
    assert "the cluster now has room for" in said
    deadline = time.monotonic() + 60
    while num_alive() > 1:
        assert time.monotonic() < deadline, "idle machines stay"
        time.sleep(0.2)
    autoscaler.BOOTSTRAP.unlink()  # as where an autoscaler does not say what it has
    with pytest.raises(UserError, match="give both cpus_per_worker and gpus_per_worker; then the search requests one"):
        plan_on_cluster(SearchConfig(gpus_per_worker=1))
    with pytest.raises(UserError, match="No autoscaler has said that it could add a machine that fits"):
        plan_on_cluster(SearchConfig(gpus_per_worker=2, cpus_per_worker=1))
    assert plan_on_cluster(SearchConfig(trials=5, gpus_per_worker=1, cpus_per_worker=1)).num_lanes == 5
    assert not [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
