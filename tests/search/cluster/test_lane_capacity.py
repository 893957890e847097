"""How many lanes have room: arithmetic on nodes that come and go, and placement groups that request more."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray import cloudpickle, tune
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from search.cluster.capacity.lane_capacity import LOOK_SECONDS, MAX_REQUESTED, LaneCapacity
from search.cluster.capacity.lane_plan import LanePlan, plan_lanes
from search.cluster.capacity.node_usage import NodeUsage, explain_no_room
from search.cluster.capacity.placement_groups import CapacityRequests, describe_waiting_groups
from search.cluster.engine import run_search
from search.cluster.session import RAY_SETTINGS
from search.config import SearchConfig
from tests.support import closed_form_lane, fakes
from tests.support.waiting import wait_until

ONE_CORE = {"CPU": 1.0}


def node(*, total: float = 1.0, free: float | None = None, ours: float = 0.0) -> NodeUsage:
    """Return a node with this many cores, all free unless told otherwise."""
    return NodeUsage(total={"CPU": total}, free={"CPU": total if free is None else free}, ours={"CPU": ours})


class FakeCluster(CapacityRequests):
    """Nodes that come and go, a clock, what the user was told, and for how many lanes machines were requested."""

    def __init__(self, *nodes: NodeUsage) -> None:
        super().__init__([])
        self.nodes = list(nodes)
        self.now = 0.0
        self.told: list[tuple[int, str]] = []
        self.asked: list[int] = []

    def ask_for(self, num_lanes: int) -> None:
        self.asked.append(num_lanes)

    def capacity(
        self, *, planned: int, trials: int = 1000, workers: int = 1, max_concurrent: int | None = None
    ) -> LaneCapacity:
        return LaneCapacity(
            LanePlan(num_lanes=planned, num_workers=workers, cpus_per_worker=1, gpus_per_worker=0.0),
            num_trials=trials,
            max_concurrent=max_concurrent,
            on_change=lambda *told: self.told.append(told),
            requests=self,
            nodes=lambda: self.nodes,
            clock=lambda: self.now,
        )

    def room(self, capacity: LaneCapacity, *, num_begun: int = 0) -> int:
        """Return how many lanes have room after two looks: the first only counts if the second agrees."""
        room = 0
        for _ in range(2):
            self.now += LOOK_SECONDS
            room = next(
                busy for busy in range(1000) if not capacity.has_room(num_busy=busy, num_begun=num_begun or busy)
            )
        return room


def test_capacity_follows_the_nodes_and_tells_of_every_change():
    cluster = FakeCluster()
    capacity = cluster.capacity(planned=2)
    found = []
    for num_nodes in (2, 5, 1, 0, 3):
        cluster.nodes = [node()] * num_nodes
        found.append(cluster.room(capacity))
    assert found == [2, 5, 1, 0, 3]
    assert cluster.told == [(5, ""), (1, ""), (0, "no machine has 1 CPU; more are requested"), (3, "")]


def test_lanes_of_two_workers_need_two_cores_on_any_nodes():
    cluster = FakeCluster(node(), node())
    capacity = cluster.capacity(planned=1, workers=2)
    assert cluster.room(capacity) == 1
    cluster.nodes = [node()] * 5
    assert cluster.room(capacity) == 2
    cluster.nodes = [node(), node(free=0)]
    assert cluster.room(capacity) == 0


@pytest.mark.parametrize(("limits", "expected"), [({"max_concurrent": 3}, 3), ({"trials": 2}, 2)])
def test_capacity_is_limited_by_the_user_and_by_the_number_of_trials(limits, expected):
    cluster = FakeCluster(node())
    capacity = cluster.capacity(planned=1, **limits)
    cluster.nodes = [node()] * 9
    assert cluster.room(capacity) == expected


def test_capacity_looks_at_the_cluster_once_a_second():
    cluster = FakeCluster(node())
    capacity = cluster.capacity(planned=1)
    assert capacity.has_room(num_busy=0, num_begun=0)
    cluster.nodes = [node()] * 4
    assert not capacity.has_room(num_busy=1, num_begun=1)
    cluster.now += LOOK_SECONDS
    assert capacity.has_room(num_busy=1, num_begun=1)


def test_a_second_search_takes_what_is_free_and_what_becomes_free():
    cluster = FakeCluster(node(total=4, free=1))
    capacity = cluster.capacity(planned=4)
    assert cluster.room(capacity) == 1
    cluster.nodes = [node(total=4, free=0, ours=1)]
    assert cluster.room(capacity) == 1
    cluster.nodes = [node(total=4, free=2, ours=1)]
    assert cluster.room(capacity) == 3
    cluster.nodes = [node(total=4, free=1, ours=3)]
    assert cluster.room(capacity) == 4
    assert cluster.told == [(1, "other jobs hold 3 CPU"), (3, "other jobs hold 1 CPU"), (4, "")]


def test_a_search_without_room_says_what_it_waits_for():
    cluster = FakeCluster(node(total=4, free=0))
    capacity = cluster.capacity(planned=4)
    assert cluster.room(capacity) == 0
    cluster.nodes = [node(total=4, free=0), node(total=0.5)]
    assert cluster.room(capacity) == 0
    waits = "all 4 CPUs are in use by other jobs; more are requested"
    waits_too = "asked for 1 CPU, free on all machines: 0.5 CPU; other jobs hold 4 CPU; more are requested"
    assert cluster.told == [(0, waits), (0, waits_too)]


def test_resources_just_booked_are_counted_once():
    assert node(total=2, free=2, ours=1).usable == {"CPU": 2, "GPU": 0}


def test_a_change_that_lasts_a_moment_is_not_told():
    cluster = FakeCluster(node(total=2, free=0, ours=2))
    capacity = cluster.capacity(planned=2)
    for ours, free in ((2, 0), (1, 0), (1, 1), (2, 0), (2, 0)):
        cluster.nodes = [node(total=2, free=free, ours=ours)]
        capacity.has_room(num_busy=1, num_begun=1)
        cluster.now += LOOK_SECONDS
    assert cluster.told == []


def test_what_requests_have_got_is_given_back_before_a_lane_uses_it():
    cluster = FakeCluster(node(total=2, free=0))
    capacity = cluster.capacity(planned=2, trials=6)
    steps = [
        (node(total=2, free=0), 0, False, [6]),
        (replace(node(total=2, free=1), requested={"CPU": 1}), 1, False, [6, 0]),
        (node(total=2, free=2), 1, True, [6, 0, 0]),
        (node(total=2, free=0, ours=2), 2, False, [6, 0, 0, 4]),
    ]
    for now, busy, expected, asked in steps:
        cluster.nodes = [now]
        assert capacity.has_room(num_busy=busy, num_begun=busy) is expected
        assert cluster.asked == asked
        cluster.now += LOOK_SECONDS


@pytest.mark.parametrize(
    ("num_nodes", "busy", "trials", "begun", "unfinished", "asked"),
    [
        (1, 1, 30, 1, 0, 29), (4, 4, 30, 4, 0, 26), (4, 4, 6, 6, 0, 0), (4, 4, 6, 6, 1, 1), (0, 0, 5, 2, 0, 3),
        (0, 0, 5, 5, 2, 2), (0, 0, 5, 5, 0, 1), (1, 1, 1000, 1, 0, MAX_REQUESTED),
    ],
    ids=[
        "all that is left", "beside what it has", "none is left", "one was cut off", "from nothing",
        "all were cut off", "all are paused", "not thousands",
    ],
)  # fmt: skip
def test_a_full_cluster_is_asked_for_exactly_what_the_search_can_use(num_nodes, busy, trials, begun, unfinished, asked):
    cluster = FakeCluster(*[node(free=0, ours=1)] * num_nodes)
    capacity = cluster.capacity(planned=num_nodes, trials=trials)
    capacity.has_room(num_busy=busy, num_begun=begun, num_unfinished=unfinished)
    assert cluster.asked == [asked]


def test_a_lane_between_two_trials_does_not_withdraw_requests():
    cluster = FakeCluster(node(free=0, ours=1), node(free=0, ours=1))
    capacity = cluster.capacity(planned=2, trials=6)
    for busy in (2, 1, 2, 1, 1, 2):
        capacity.has_room(num_busy=busy, num_begun=2)
        cluster.now += LOOK_SECONDS
    assert cluster.asked == [4, 4, 0, 4]


def test_requests_stay_within_the_users_limit():
    cluster = FakeCluster(node(free=0, ours=1), node(free=0, ours=1))
    cluster.capacity(planned=2, max_concurrent=3).has_room(num_busy=2, num_begun=2)
    assert cluster.asked == [1]


@pytest.mark.parametrize(
    ("workers", "nodes", "expected"),
    [
        (1, [], "no machine has 1 CPU and 1 GPU"),
        (
            2,
            [NodeUsage(total={"CPU": 8, "GPU": 1}, free={})],
            "the machines have no room for 2 workers of 1 CPU and 1 GPU",
        ),
        (1, [NodeUsage(total={"CPU": 8, "GPU": 4}, free={"CPU": 4})], "all 4 GPUs are in use by other jobs"),
        (1, [NodeUsage(total={"CPU": 8, "GPU": 1}, free={"CPU": 4})], "the only GPU is in use by other jobs"),
        (1, [NodeUsage(total={"CPU": 4, "GPU": 1}, free={"GPU": 1})], "all 4 CPUs are in use by other jobs"),
        (
            2,
            [NodeUsage(total={"CPU": 8, "GPU": 2}, free={"CPU": 4, "GPU": 1})],
            "asked for 2 workers of 1 CPU and 1 GPU, free on all machines: 4 CPU and 1 GPU; "
            "other jobs hold 4 CPU and 1 GPU",
        ),
        (
            1,  # a machine that has just joined
            [NodeUsage(total={"CPU": 8, "GPU": 1}, free={"CPU": 8, "GPU": 1})],
            "asked for 1 CPU and 1 GPU, free on all machines: 8 CPU and 1 GPU",
        ),
    ],
)
def test_explain_no_room_names_what_is_missing(workers, nodes, expected):
    lanes = LanePlan(num_lanes=1, num_workers=workers, cpus_per_worker=1, gpus_per_worker=1.0)
    assert explain_no_room(lanes, nodes) == expected


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two nodes with a core each."""
    checks = {"initial_delay_ms": 0, "period_ms": 500, "timeout_ms": 2000, "failure_threshold": 2}  # not half a minute
    settings = {f"health_check_{name}": value for name, value in checks.items()}
    without = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}  # seconds less
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": settings} | without)
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def two_nodes(cluster):
    """The same, connected to this process; what a test asked of it ends with the connection."""
    ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": RAY_SETTINGS})
    yield cluster
    ray.shutdown()


def groups() -> dict[str, str]:
    """Return the state of every placement group that is not removed, by name."""
    found = placement_group_table().values()
    return {group["name"]: group["state"] for group in found if group["state"] != "REMOVED"}


@pytest.mark.cluster
@pytest.mark.slow
def test_requests_wait_silently_and_give_back_what_they_get(two_nodes):
    requests = CapacityRequests([ONE_CORE, ONE_CORE, ONE_CORE])
    requests.ask_for(2)
    wait_until(lambda: list(groups().values()) == ["PENDING"] * 2)
    assert describe_waiting_groups() == [], "nothing that a person should be told"
    requests.ask_for(1)
    assert list(groups().values()) == ["PENDING"]
    node = two_nodes.add_node(num_cpus=1)
    wait_until(lambda: list(groups().values()) == ["CREATED"])
    requests.ask_for(0)
    wait_until(lambda: groups() == {} and ray.available_resources().get("CPU") == 3)
    two_nodes.remove_node(node)


@pytest.mark.cluster
def test_requests_give_way_to_a_lane_that_waits(two_nodes):
    requests = CapacityRequests([ONE_CORE] * 3)
    requests.ask_for(2)
    lane = placement_group([ONE_CORE] * 4)
    wait_until(lambda: list(groups().values()) == ["PENDING"] * 3)
    requests.ask_for(2)
    assert groups() == {"": "PENDING"}
    remove_placement_group(lane)
    requests.ask_for(2)
    wait_until(lambda: len(groups()) == 2)


@pytest.mark.slow  # tests/cluster has hosts that die and join
@pytest.mark.cluster  # the last of them: it takes a node away
def test_lanes_of_a_search_follow_nodes_that_join_and_die(two_nodes, tmp_path, capsys):
    for module in (closed_form_lane, fakes):  # workers cannot import the tests
        cloudpickle.register_pickle_by_value(module)
    config = SearchConfig(out=tmp_path, name="elastic", trials=40, max_epochs=9, scheduler="none", tracking="off")
    config.folder.mkdir()
    lane = tune.with_parameters(closed_form_lane.ClosedFormLane, max_epochs=9, epoch_seconds=0.1)
    lanes = plan_lanes(config, [ONE_CORE, ONE_CORE])
    rows = []

    def search() -> None:
        rows.extend(run_search(config, tune.with_resources(lane, ONE_CORE), num_lanes=lanes.num_lanes, lanes=lanes))

    thread = threading.Thread(target=search)  # Ray starts nodes in the main thread alone
    thread.start()
    wait_until(lambda: num_ended(config.folder) >= 4)
    [second] = two_nodes.worker_nodes
    two_nodes.add_node(num_cpus=2)
    wait_until(lambda: num_ended(config.folder) >= 16)
    two_nodes.remove_node(second, allow_graceful=False)
    thread.join(60)
    assert [row.number for row in rows] == list(range(40))
    assert all([epoch.epoch for epoch in row.epochs] == list(range(1, 10)) for row in rows)
    said = [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines() if "has room" in line]
    assert said[:2] == [
        "the cluster now has room for 4 trials at a time instead of 2",
        "the cluster now has room for 3 trials at a time instead of 4",
    ]


def num_ended(folder: Path) -> int:
    table = folder / "trials.jsonl"
    return len(table.read_text().splitlines()) if table.exists() else 0
