"""Somebody edits the program while it searches: the search goes on, and says which trials the new version trains."""

import os
import shutil
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from search.cluster.capacity.machines import PACKAGES
from search.cluster.group.messages import LEG, REPORT, LaneReport, LegConfig
from search.cluster.lane_watch import LaneWatch
from search.coordination.checkpoints import Checkpoints
from search.record.epochs import EpochMetrics
from search.record.trials import State, read_rows
from tests.circumstances.tiny_search import NAME, ROOT, tiny_search
from tests.support.process_tree import descendants
from tests.support.waiting import wait_until

WARNING = "with another version of this program than the search began with"


def test_each_machine_with_another_program_is_named_once(tmp_path):
    said: list[str] = []
    screen: Any = SimpleNamespace(say=said.append)
    watch = LaneWatch(screen, Checkpoints(tmp_path), tmp_path)
    for number, changed in enumerate([(), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2")]):
        leg = LegConfig(number=number, sample={}, folder="", checkpoint=None, best_dice=0.0)
        report = LaneReport(metrics=EpochMetrics(epoch=1), finished=False, changed=changed)
        watch.on_trial_result(1, [], SimpleNamespace(config={LEG: leg}), {REPORT: report})
    assert [line.partition(WARNING)[0] for line in said] == ["t001 trains on 10.0.0.1 ", "t002 trains on 10.0.0.2 "]


@pytest.mark.ray
@pytest.mark.slow
def test_search_whose_program_is_edited_says_which_trials_differ(tmp_path):
    program, log = tmp_path / "program", tmp_path / NAME / "events.jsonl"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, program / package)

    def edit() -> None:
        wait_until(lambda: log.exists() and '"epoch"' in log.read_text(), seconds=300)
        with (program / "data/errors.py").open("a") as file:
            file.write("EDITED = 1\n")
        for pid, command in descendants(os.getpid()).items():
            if command.startswith("ray::Lane"):
                os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=edit)
    thread.start()
    options = ("--trials", "2", "--max-epochs", "4", "--max-concurrent", "1", "--scheduler", "none")
    done = tiny_search(tmp_path, *options, program=program)
    thread.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row.state for row in read_rows(tmp_path / NAME / "trials.jsonl")] == [State.COMPLETE] * 2
    assert done.stdout.count(WARNING) == 1, done.stdout
