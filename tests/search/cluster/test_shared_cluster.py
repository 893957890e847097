"""Two searches on one cluster, each in its own process, share what is free and leave each other's work alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from search.record.jsonl import read_lines
from search.record.trials import State, read_rows
from tests.support.ray_internals import list_actors
from tests.support.waiting import wait_until

pytestmark = pytest.mark.cluster

SUPPORT = Path(__file__).parents[2] / "support"


@pytest.fixture
def two_cores():
    """The address of a Ray with two cores, to which this process is connected, as somebody else would be."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@contextmanager
def search(address: str, out: Path, name: str, *, trials: int, max_concurrent: int) -> Iterator[subprocess.Popen]:
    """Let a search run; what it says is in NAME.txt."""
    arguments = [str(out), name, str(trials), str(max_concurrent)]
    environment = os.environ | {"RAY_ADDRESS": address, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(SUPPORT / "closed_form_search.py"), *arguments]
    with (out / f"{name}.txt").open("w") as said:
        running = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            yield running
        finally:
            running.kill()
            running.wait()


@ray.remote(num_cpus=0)
class Stranger:
    """Somebody else's actor that has booked something: when it is dead, its search may clean up after it."""

    def book(self) -> None:
        placement_group([{"memory": 1.0}], name="a stranger's")


def lane_pids() -> list[int]:
    """Return the processes of the searches' actors: they have no others."""
    own = ray.get_runtime_context().get_job_id()
    return [actor["Pid"] for actor in list_actors() if actor["JobID"] != own and actor["State"] == "ALIVE"]


@pytest.mark.slow  # tests/cluster has two searches on two hosts
def test_two_searches_at_once_share_two_cores_and_leave_each_other_alone(two_cores, tmp_path):
    stranger: Any = Stranger.remote()
    ray.get(stranger.book.remote())
    ray.kill(stranger)
    taken = [placement_group([{"CPU": 1}]) for _ in range(2)]
    ray.get([group.ready() for group in taken])
    said = {name: tmp_path / f"{name}.txt" for name in "AB"}
    num_trials = {"A": 8, "B": 40}  # so that A ends first, also if it is A's lane that is killed
    with (
        search(two_cores, tmp_path, "A", trials=num_trials["A"], max_concurrent=1) as a,
        search(two_cores, tmp_path, "B", trials=num_trials["B"], max_concurrent=0) as b,
    ):
        waits = "waiting for resources: all 2 CPUs are in use by other jobs"
        wait_until(lambda: all(waits in said[name].read_text() for name in "AB"), seconds=90)
        for group in taken:
            remove_placement_group(group)
        wait_until(lambda: len(lane_pids()) == 2, seconds=90)
        os.kill(lane_pids()[0], signal.SIGKILL)  # whose search now looks for what it left behind
        assert (a.wait(120), b.wait(120)) == (0, 0)
    for name in "AB":
        rows = read_rows(tmp_path / name / "trials.jsonl")
        assert [row.number for row in rows] == list(range(num_trials[name]))
        assert all(row.state == State.COMPLETE and len(row.epochs) == 9 for row in rows)
        assert "room for 0" not in said[name].read_text()
    events = [event["event"] for name in "AB" for event in read_lines(tmp_path / name / "events.jsonl")]
    assert events.count("lost") == 1, "only the lane that was killed"
    left = [group for group in placement_group_table().values() if group["state"] != "REMOVED"]
    assert [(group["name"], group["state"]) for group in left] == [("a stranger's", "CREATED")]
    assert "the cluster now has room for 2 trials at a time" in said["B"].read_text(), "A has ended before"
