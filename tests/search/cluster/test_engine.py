"""Whole searches on a real Ray: trials that fail, checkpoints, waiting, the time budget, an existing cluster."""

import contextlib
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.util.placement_group import placement_group, remove_placement_group

from data.preprocess import Preprocessing
from search.cluster import engine
from search.cluster.capacity.lane_plan import LanePlan, node_resources, plan_lanes
from search.cluster.capacity.placement_groups import describe_waiting_groups
from search.cluster.lane_watch import WAIT_SECONDS
from search.cluster.session import RAY_SETTINGS, ray_session
from search.config import SearchConfig
from search.record.objectives import NUM_KEPT
from search.record.trials import TIME_SPENT, State, TrialRow
from search.space.space import Space
from tests.support.fakes import small_pack
from tests.support.process_tree import command_lines, descendants

pytestmark = pytest.mark.ray

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
GOOD = {"learning_rate": 1e-3, "depth": 2, "dropout": 0.0, "bce_weight": 0.5}


def search(
    tmp_path: Path, monkeypatch, bad: dict, *, trials: int = 6, before: Callable = lambda: None, **options
) -> list[TrialRow]:
    """Return the trials of a search over a good and a bad value of each hyperparameter in `bad`."""
    axes = {name: CategoricalDistribution([GOOD[name], value]) for name, value in bad.items()}
    fixed = {name: CategoricalDistribution([value]) for name, value in GOOD.items() if name not in bad}
    config = SearchConfig(
        space=Space(axes | fixed),  # which is not checked again, so that a trial may raise
        out=tmp_path,
        name="test",
        trials=trials,
        max_epochs=2,
        preprocessing=Preprocessing(size=64),
        width=2,
        tracking="off",
        **options,
    )
    config.folder.mkdir()
    train, val = small_pack([True] * 8, num_patients=2, size=64), small_pack([True] * 4, num_patients=2, size=64)
    with ray_session():
        before()
        return engine.run_trials(config, plan_lanes(config, node_resources()), train, val)


@pytest.fixture(scope="module", autouse=True)
def running_ray() -> Iterator[tuple[Path, str]]:
    """A Ray for all searches here, started as by another user: its folder and its address.

    Starting one for each test would cost six seconds each; tests/search/test_tune.py tests that a search starts Ray.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # not tmp_path, because the path of a socket has at most 107 bytes
    options = ["--head", "--port=0", "--include-dashboard=false", f"--temp-dir={folder}"]
    # A process keeps its first mode, and starting Ray in it sets `token`, so both must have the same.
    mode = {"RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "disabled")}
    started = subprocess.run(
        [*RAY, "start", *options], capture_output=True, text=True, env=os.environ | RAY_SETTINGS | mode
    )
    assert started.returncode == 0, started.stdout + started.stderr
    address = (folder / "ray_current_cluster").read_text().strip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        yield folder, address
    for process, command in command_lines().items():
        with contextlib.suppress(ProcessLookupError):  # it ended in between
            if str(folder) in command:
                os.kill(process, signal.SIGKILL)
    shutil.rmtree(folder)


def states_in_study(tmp_path: Path) -> list[optuna.trial.TrialState]:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "test" / "optuna_journal.log")))
    return [trial.state for trial in optuna.load_study(study_name="test", storage=storage).get_trials()]


def test_trials_that_turn_nan_or_raise_are_failed_rows_and_the_search_continues(tmp_path, monkeypatch):
    # At depth 7 sides of 64 pixels cannot be halved often enough, and 1e30 is no learning rate.
    # Without a scheduler, no trial is stopped before its loss is nan.
    bad = {"learning_rate": 1e30, "depth": 7}
    rows = search(tmp_path, monkeypatch, bad, trials=10, precision="float32", scheduler="none")
    assert [row.number for row in rows] == list(range(10))
    for row in rows:
        if row.sample["depth"] == 7:
            assert row.state == State.FAILED
            assert (row.error or "").startswith("UserError: slices are 64 x 64 pixels")
            assert row.epochs == ()
        elif row.sample["learning_rate"] == 1e30:
            assert row.state == State.FAILED
            assert "train_loss was" in (row.error or "")
        else:
            assert row.state == State.COMPLETE
            assert math.isfinite(row.best_dice)
    assert len({row.state for row in rows}) > 1, "the seed drew no bad or no good trial"
    expected = {State.FAILED: "FAIL", State.COMPLETE: "COMPLETE"}
    assert [state.name for state in states_in_study(tmp_path)] == [expected[row.state] for row in rows]


@pytest.mark.slow
def test_checkpoints_stay_within_their_cap_and_losers_leave_none(tmp_path, monkeypatch):
    rows = search(tmp_path, monkeypatch, {}, trials=9, checkpoints_gb=0)
    assert [row.state for row in rows].count(State.COMPLETE) >= 1
    assert any("checkpoints_gb" in (row.error or "") for row in rows), "nothing made room"
    kept = {path.parent.parent.name[:4] for path in (tmp_path / "test" / "ray").rglob("checkpoint.pt")}
    assert kept == {row.id for row in sorted(rows, key=lambda row: -row.best_dice)[:NUM_KEPT]}


@pytest.mark.slow
def test_a_search_without_room_says_so_and_continues_when_there_is_some(tmp_path, monkeypatch, capsys):
    taken = []

    def take_every_core() -> None:
        assert describe_waiting_groups() == []
        taken.append(placement_group([{"CPU": float(os.cpu_count() or 1)}]))
        assert taken[0].wait(30)
        threading.Timer(WAIT_SECONDS + 4, remove_placement_group, taken).start()

    [row] = search(tmp_path, monkeypatch, {}, trials=1, cpus_per_worker=1, before=take_every_core)
    assert row.state == State.COMPLETE
    said = [line.strip().split("  ")[1] for line in capsys.readouterr().out.splitlines() if "waiting" in line]
    assert said == ["waiting for resources: asked for 1 CPU, free: none"]


@pytest.mark.slow
def test_search_ends_with_its_time_budget(tmp_path, monkeypatch):
    rows = search(tmp_path, monkeypatch, {}, trials=500, time_budget_seconds=8.0)
    assert 0 < len(rows) < 500
    assert rows[-1].error == TIME_SPENT
    assert sum(row.seconds for row in rows) < 8.0


@pytest.mark.slow  # test_worker_group.py tests ranks that fail without Ray
def test_two_workers_outlive_a_trial_that_raises_on_both(tmp_path, monkeypatch):
    rows = search(tmp_path, monkeypatch, {"depth": 7}, trials=3, workers_per_trial=2)
    assert {row.state for row in rows} >= {State.FAILED}
    assert any(row.state != State.FAILED for row in rows)
    assert all((row.error or "").startswith("UserError") for row in rows if row.state == State.FAILED)


@pytest.mark.slow
def test_a_killed_loader_process_costs_its_trial_an_epoch_at_most(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(LanePlan, "loader_processes", 2)  # what a lane with a GPU and three cores has
    killed = []

    def kill_one() -> None:
        lanes = [pid for pid, line in command_lines().items() if line.startswith("ray::Lane")]
        forked = [child for pid in lanes for child in descendants(pid)]
        if not forked:
            again = threading.Timer(0.05, kill_one)
            again.daemon = True
            again.start()
            return
        os.kill(forked[0], signal.SIGKILL)
        killed.append(forked[0])

    # Without a scheduler every trial has a second epoch, in which nobody can overlook that a process is gone.
    rows = search(tmp_path, monkeypatch, {}, trials=3, before=kill_one, scheduler="none")
    assert len(killed) == 1
    assert {row.state for row in rows} == {State.COMPLETE}
    assert "DataLoader worker" in capsys.readouterr().out, "nobody noticed"


@pytest.mark.slow  # two groups of two workers are started
@pytest.mark.timeout(180)
def test_a_train_controller_that_is_killed_while_it_starts_costs_one_lane(tmp_path, monkeypatch):
    """Ray keeps a lane's process then, because it believes that the controller will be started again."""
    killed = []

    def kill_controller() -> None:
        for pid, line in command_lines().items():
            if line.startswith("ray::TrainController"):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
                return
        again = threading.Timer(0.01, kill_controller)
        again.daemon = True
        again.start()

    [row] = search(tmp_path, monkeypatch, {}, trials=1, workers_per_trial=2, before=kill_controller)
    assert len(killed) == 1
    assert row.state == State.COMPLETE


@pytest.mark.cluster
@pytest.mark.slow
def test_search_uses_the_cluster_that_ray_address_names(tmp_path, monkeypatch, running_ray):
    folder, address = running_ray
    rows = search(tmp_path, monkeypatch, {}, trials=1)
    assert [row.state for row in rows] == [State.COMPLETE]
    assert list(folder.glob("session_*/logs/python-core-driver-*")), "it started a Ray of its own"
    status = subprocess.run([*RAY, "status", "--address", address], capture_output=True, text=True)
    assert status.returncode == 0, "it ended a Ray that was not its own"
