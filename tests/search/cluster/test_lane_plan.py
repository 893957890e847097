"""Planning lanes: arithmetic on the cluster's resources, so that nothing waits for ever."""

import re
from typing import Any

import pytest

from data.errors import UserError
from search.cluster.capacity import node_usage
from search.cluster.capacity.draining import UsableNode
from search.cluster.capacity.lane_plan import LanePlan, count_lanes, plan_lanes, workers_per_gpu
from search.config import SearchConfig


def node(cpus: float, gpus: float = 0) -> dict[str, float]:
    return {"CPU": cpus, "memory": 1e9} | ({"GPU": gpus} if gpus else {})


def plan(nodes: list[dict[str, float]], **changes: Any) -> LanePlan:
    options: dict[str, Any] = {"trials": 1000, "batch_size": 48} | changes
    return plan_lanes(SearchConfig(**options), nodes)


def lanes(num_lanes: int, num_workers: int, cpus: int, gpus: float) -> LanePlan:
    return LanePlan(num_lanes=num_lanes, num_workers=num_workers, cpus_per_worker=cpus, gpus_per_worker=gpus)


@pytest.mark.parametrize(
    ("nodes", "changes", "expected"),
    [
        ([node(2)], {}, lanes(2, 1, 1, 0.0)),
        ([node(2)], {"max_concurrent": 1}, lanes(1, 1, 2, 0.0)),
        ([node(2)], {"trials": 1}, lanes(1, 1, 2, 0.0)),
        ([node(2)], {"budget": "8h"}, lanes(1, 1, 2, 0.0)),
        ([node(4)], {}, lanes(2, 1, 2, 0.0)),
        ([node(1)], {}, lanes(1, 1, 1, 0.0)),
        ([node(2)], {"cpus_per_worker": 1}, lanes(2, 1, 1, 0.0)),
        ([node(2)], {"workers_per_trial": 2}, lanes(1, 2, 1, 0.0)),
        ([node(16)], {}, lanes(4, 1, 4, 0.0)),
        ([node(64, 8)], {}, lanes(8, 1, 8, 1.0)),
        ([node(64, 8)], {"gpus_per_worker": 0.5}, lanes(16, 1, 4, 0.5)),
        ([node(64, 8)], {"gpus_per_worker": 0.6}, lanes(8, 1, 8, 0.6)),
        ([node(16, 1)], {"gpus_per_worker": 0.3}, lanes(3, 1, 5, 0.3)),
        ([node(64, 8)], {"gpus_per_worker": 0.25, "workers_per_trial": 2}, lanes(16, 2, 2, 0.25)),
        ([node(64, 8)], {"gpus_per_worker": 3}, lanes(2, 1, 8, 3)),
        ([node(4, 1)], {"gpus_per_worker": 0.1}, lanes(4, 1, 1, 0.1)),
        ([node(64, 8)], {"gpus_per_worker": 0.0}, lanes(16, 1, 4, 0.0)),
        ([node(64, 8)], {"workers_per_trial": 3}, lanes(2, 3, 8, 1.0)),
        ([node(256, 2)], {}, lanes(2, 1, 8, 1.0)),
        ([node(4, 8)], {}, lanes(4, 1, 1, 1.0)),
        ([node(2), node(2)], {"workers_per_trial": 4}, lanes(1, 4, 1, 0.0)),
        ([node(3), node(3)], {"cpus_per_worker": 2}, lanes(2, 1, 2, 0.0)),
        ([node(8), node(16, 4), node(8, 1)], {}, lanes(5, 1, 4, 1.0)),
        ([{"memory": 1e9}, node(4)], {}, lanes(2, 1, 2, 0.0)),
        ([node(64)], {"max_concurrent": 3}, lanes(3, 1, 4, 0.0)),
        ([node(64)], {"trials": 2}, lanes(2, 1, 4, 0.0)),
    ],
    ids=[
        "laptop", "one at a time", "one trial", "with a budget", "four cores", "one core",
        "laptop in halves", "a group on a laptop", "16 cores", "8 GPUs", "half GPUs",
        "nothing of two GPUs' rests", "a little below thirds", "groups of quarters", "three GPUs each",
        "more shares than cores",
        "GPUs unused", "groups of 3 GPUs", "many cores a GPU", "few cores a GPU", "a group over two nodes",
        "no worker over two nodes",
        "mixed nodes", "a head without cores", "at most 3", "no more than trials",
    ],
)  # fmt: skip
def test_plan_lanes_by_hand(nodes, changes, expected):
    assert plan(nodes, **changes) == expected


def test_a_worker_with_a_gpu_uses_all_cores_but_one_for_loading():
    assert plan([node(64, 8)]).loader_processes == 7
    assert plan([node(4, 8)]).loader_processes == 0
    assert plan([node(64)]).loader_processes == 0, "a CPU trains slower than one thread augments"


def test_plan_lanes_knows_the_smallest_object_store():
    nodes = [node(2) | {"object_store_memory": size} for size in (5e9, 3e9, 7e9)]
    assert plan(nodes).object_store_bytes == 3e9


@pytest.mark.parametrize("num_gpus", range(1, 9))
def test_plan_lanes_loses_no_share_of_a_gpu_to_rounding(num_gpus):
    for shares in range(1, 21):
        found = plan([node(1000, num_gpus)], gpus_per_worker=1 / shares, cpus_per_worker=1)
        assert found.num_lanes == num_gpus * shares


@pytest.mark.parametrize(("gpus", "free", "expected"), [(0.1, 0.3, 3), (0.1, 1.7, 17), (0.25, 0.5, 2), (0.5, 0.4, 0)])
def test_count_lanes_takes_all_of_what_is_left_of_a_gpu(gpus, free, expected):
    assert count_lanes(lanes(1, 1, 1, gpus), [node(100, free)]) == expected


@pytest.mark.parametrize("gpus", [2.5, 1.5, 0.00001])
def test_plan_lanes_refuses_a_share_of_gpus_that_ray_does_not_give(gpus):
    with pytest.raises(
        UserError, match=r"gpus_per_worker is .*, but must be 0, a share of one GPU \(0.0001 to 1\), or a"
    ):
        plan([node(64, 8)], gpus_per_worker=gpus)


@pytest.mark.parametrize(("gpus", "expected"), [(0.25, 4), (0.3, 3), (0.1, 10), (0.6, 1), (1.0, 1), (2.0, 1), (0.0, 1)])
def test_workers_per_gpu_by_hand(gpus, expected):
    assert workers_per_gpu(lanes(1, 1, 1, gpus)) == expected


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize("nodes", [[node(2)], [node(7), node(5)], [node(24, 4), node(9, 2)]], ids=["2", "7+5", "GPUs"])
def test_plan_lanes_never_books_more_than_there_is(nodes, workers):
    try:
        found = plan(nodes, workers_per_trial=workers)
    except UserError:
        return
    for name, amount in found.worker_resources().items():
        assert found.num_lanes * found.num_workers * amount <= sum(one.get(name, 0) for one in nodes)


@pytest.mark.parametrize(
    ("markets", "expected"),
    [
        (["spot", "on-demand"], [{"ray.io/market-type": "!spot"}]),
        (["spot", None], [{"ray.io/market-type": "!spot"}]),
        (["spot", "spot"], None),  # a lane there is better than none
    ],
)
def test_avoid_spot_selector_keeps_off_spot_if_there_is_another_node(monkeypatch, markets, expected):
    labels = [{"ray.io/market-type": market} if market else {} for market in markets]
    nodes = [UsableNode(id=str(index), address="", resources={}, labels=found) for index, found in enumerate(labels)]
    monkeypatch.setattr(node_usage, "usable_nodes", lambda: nodes)
    assert node_usage.avoid_spot_selector() == expected


def test_actor_resources_are_a_workers_or_one_byte():
    assert lanes(1, 1, 2, 0.5).actor_resources() == {"CPU": 2.0, "GPU": 0.5}
    assert lanes(1, 1, 2, 0.0).actor_resources() == {"CPU": 2.0}
    assert lanes(1, 2, 2, 1.0).actor_resources() == {"memory": 1.0}
    assert lanes(1, 2, 2, 1.0).worker_resources() == {"CPU": 2.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("nodes", "changes", "sizes"),
    [
        ([node(2)], {"workers_per_trial": 4}, "4 workers of 1 CPU and 0 GPU, but the nodes have 2 CPU and 0 GPU"),
        (
            [node(4), node(8)],
            {"cpus_per_worker": 16},
            "1 workers of 16 CPU and 0 GPU, but the nodes have 4 CPU and 0 GPU; 8 CPU and 0 GPU",
        ),
        ([], {}, "1 workers of 1 CPU and 0 GPU, but the nodes have "),
    ],
)
def test_plan_lanes_refuses_a_trial_that_fits_nowhere(nodes, changes, sizes):
    message = f"a trial needs {sizes}: lower --workers-per-trial, --cpus-per-worker or --gpus-per-worker"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        plan(nodes, **changes)


def test_plan_lanes_without_a_gpu_says_that_cpus_will_do():
    sizes = "1 workers of 8 CPU and 1 GPU, but the nodes have 4 CPU and 0 GPU"
    message = f"a trial needs {sizes}: there is no GPU, and --gpus-per-worker 0 trains on CPUs"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        plan([node(4)], gpus_per_worker=1.0)
