"""Where the work after a search runs: here, or as Ray's tasks, with the same results and the same errors."""

import operator
import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from data.patient import BadFiles, Problem
from search.cluster.tasks import Tasks, open_tasks, where_readable
from search.config import SearchConfig


def patient(path: Path) -> SimpleNamespace:
    return SimpleNamespace(files=(path,))


def test_tasks_without_lanes_run_here_in_order():
    tasks = Tasks(None)
    found = tasks.map(operator.add, [(tasks.share(np.arange(4)), number) for number in range(3)])
    assert [sums.tolist() for sums in found] == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
    assert tasks.run(os.getpid) == os.getpid()
    with pytest.raises(ValueError, match=r"^invalid literal"):
        tasks.run(int, "x")


def test_open_tasks_stays_here_where_nothing_asks_for_ray(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with open_tasks(SearchConfig(), [], training=False) as tasks:
        assert tasks.run(os.getpid) == os.getpid()


@pytest.mark.ray
def test_tasks_of_ray_run_elsewhere_with_the_same_results_and_errors(monkeypatch, tmp_path, caplog):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = SearchConfig(cpus_per_worker=1, out=tmp_path, name="mine")
    config.folder.mkdir()
    with open_tasks(config, [patient(Path(__file__))], training=True) as tasks:
        assert (tasks.num_threads, tasks.loader_processes) == (1, 0)
        shared = tasks.share(np.arange(4))
        found = tasks.map(operator.add, [(shared, number) for number in range(3)])
        assert [sums.tolist() for sums in found] == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]
        assert tasks.run(os.getpid) != os.getpid()
        with pytest.raises(ValueError, match=r"^invalid literal"):
            tasks.run(int, "x")
        assert where_readable(tasks, [patient(Path(__file__))], tmp_path) is tasks
        here = where_readable(tasks, [patient(tmp_path / "gone")], tmp_path)
        assert here.run(os.getpid) == os.getpid()
    assert "a node of the cluster cannot read" in caplog.text


def test_bad_files_travel_whole():
    sent = BadFiles("2 files:", [Problem(path=Path(name), reason="is gone") for name in "AB"], num_listed=1)
    came = pickle.loads(pickle.dumps(sent))
    assert (str(came), came.problems) == (str(sent), sent.problems)
