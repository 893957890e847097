"""The work after a search runs in this process or as Ray's tasks, with the same results and errors."""

import operator
import os
import pickle
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import ray

from data.errors import BadFiles, Problem
from data.patient import Patient, Volume
from search.cluster.capacity.lane_plan import node_resources, plan_lanes
from search.cluster.task_runner import TaskRunner, open_task_runner, reserve_place, run_here_if_unfit
from search.config import SearchConfig


class OneFile(Patient):
    """A patient of one file, which nobody reads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def files(self) -> tuple[Path, ...]:
        return (self._path,)

    def read(self) -> Volume:
        raise NotImplementedError

    def without(self, paths: Collection[Path]) -> "Patient | None":
        raise NotImplementedError


def test_tasks_without_lanes_run_in_this_process_in_order():
    tasks = TaskRunner(None)
    found = tasks.map(operator.add, [(tasks.share(np.arange(4)), number) for number in range(3)])
    assert [sums.tolist() for sums in found] == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
    assert tasks.run(os.getpid) == os.getpid()
    with pytest.raises(ValueError, match=r"^invalid literal"):
        tasks.run(int, "x")


def test_open_task_runner_stays_in_this_process_without_a_cluster(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with open_task_runner(SearchConfig(), [], training=False) as tasks:
        assert tasks.run(os.getpid) == os.getpid()


@pytest.mark.ray
@pytest.mark.slow
def test_tasks_on_ray_have_the_same_results_and_errors(monkeypatch, tmp_path, caplog):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = SearchConfig(cpus_per_worker=1, out=tmp_path, name="mine")
    config.folder.mkdir()
    with open_task_runner(config, [OneFile(Path(__file__))], training=True) as tasks:
        assert (tasks.num_threads, tasks.loader_processes) == (1, 0)
        shared = tasks.share(np.arange(4))
        found = tasks.map(operator.add, [(shared, number) for number in range(3)])
        assert [sums.tolist() for sums in found] == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
        assert tasks.run(os.getpid) != os.getpid()
        with pytest.raises(ValueError, match=r"^invalid literal") as raised:
            tasks.run(int, "x")
        assert "in _call" in str(raised.value.__cause__), "the traceback of the other process is gone"
        assert run_here_if_unfit(tasks, [OneFile(Path(__file__))], tmp_path) is tasks
        here = run_here_if_unfit(tasks, [OneFile(tmp_path / "gone")], tmp_path)
        assert here.run(os.getpid) == os.getpid()
        check_places(config, monkeypatch)
    assert "a node of the cluster cannot read" in caplog.text
    assert "the cluster had no room for 1 seconds: the promotion runs here" in caplog.text


def check_places(config: SearchConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a place is reserved unless others hold them all. (In the Ray of another test, to save seconds.)"""
    lanes = plan_lanes(config, node_resources())
    every_core: dict[str, float] = {"CPU": ray.cluster_resources()["CPU"]}
    with reserve_place(lanes.worker_resources()) as place:
        tasks = TaskRunner(lanes, place)
        assert tasks.map(operator.add, [(1, 2), (3, 4)]) == [3, 7]
        assert tasks.run(os.getpid) != os.getpid()
    with reserve_place(every_core) as others:
        assert others is not None
        monkeypatch.setattr("search.cluster.task_runner.RESERVE_SECONDS", 1)
        with reserve_place(lanes.worker_resources()) as place:
            assert place is None


def test_bad_files_are_whole_after_pickling():
    sent = BadFiles("2 files:", [Problem(path=Path(name), reason="is gone") for name in "AB"], num_listed=1)
    came = pickle.loads(pickle.dumps(sent))
    assert (str(came), came.problems) == (str(sent), sent.problems)
