"""A search with a budget as a user runs it: planned, interrupted, resumed and recorded."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.experiment import recorded_config
from search.record.experiment_record import read_experiment
from search.record.files import BEST_FOLDER, METRICS_FILE
from search.record.model_metrics import read_metrics
from search.record.trials import State, read_rows

pytestmark = pytest.mark.ray

SMALL = ("--data", "phantom:6", "--size", "64", "--width", "4", "--name", "mine")
PATIENCE_SECONDS = 240


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "search.tune", "--out", str(out), *options]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    """Return what a search printed, after it has ended with status 0."""
    try:
        text, _ = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 0, text
    return text


@pytest.mark.slow  # slow, because CI begins with such a search: the first command of the README
def test_budget_of_time_is_planned_on_a_measured_epoch_and_recorded(tmp_path):
    began = time.monotonic()
    given = ("--trials", "2", "--max-epochs", "2", "--final-seeds", "0")
    text = finish(start(tmp_path, *SMALL, "--budget", "10m", *given))
    wall = time.monotonic() - began
    assert "Measuring an epoch of the default configuration on these machines." in text
    assert " s for an epoch: trials until 9 min " in text
    assert "other jobs hold" not in text
    config, spent = recorded_config(tmp_path / "mine"), read_experiment(tmp_path / "mine").spent
    assert (config.trials, config.max_epochs, config.grace_period, config.promotion.final_seeds) == (2, 2, 1, 0)
    assert config.given == ("final_seeds", "max_epochs", "trials")
    assert config.epoch_seconds is not None
    assert config.epoch_seconds > 0
    assert spent is not None
    assert 0.5 * wall < spent.seconds < wall
    assert "Planned: 2 trials of at most 2 epochs and 0 final seeds" in (tmp_path / "mine/report.html").read_text()


@pytest.mark.slow  # slow, because test_terminal also interrupts a search, and test_tune resumes one
def test_budget_of_epochs_survives_ctrl_c_and_resume(tmp_path):
    process = start(tmp_path, *SMALL, "--budget", "12 epochs")
    log = tmp_path / "mine/events.jsonl"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while '"epoch": 2' not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < deadline, process.kill()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    finish(process)
    planned = recorded_config(tmp_path / "mine")
    assert (planned.trials, planned.max_epochs, planned.time_budget_seconds) == (1, 12, None)
    finish(start(tmp_path, "--resume", "mine"))
    assert recorded_config(tmp_path / "mine") == planned
    [row] = read_rows(tmp_path / "mine/trials.jsonl")
    assert (row.state, len(row.epochs)) == (State.COMPLETE, 12)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    """The folder of an experiment named `mine`, which had a budget."""
    out = tmp_path_factory.mktemp("earlier")
    finish(start(out, *SMALL, "--budget", "4 epochs", "--max-epochs", "1", "--trials", "2"))
    return out


@pytest.mark.slow  # slow, because each is a whole search with trainings at its end
@pytest.mark.parametrize(
    ("options", "num_seeds"),
    [
        (("--cpus-per-worker", "1"), 3),
        (("--workers-per-trial", "2", "--cpus-per-worker", "1"), 3),
        (("--objective", "million_parameters"), 1),
        (("--warm-start", "mine"), 3),
    ],
    ids=["two lanes", "two workers", "two objectives", "warm start"],
)
def test_budget_is_kept_whatever_else_a_search_does(earlier, options, num_seeds, request):
    name = request.node.callspec.id.replace(" ", "-")
    given = ("--budget", "18 epochs", "--trials", "3", "--max-epochs", "3", "--scheduler", "none")
    text = finish(start(earlier, *SMALL, *given, *options, "--name", name))
    folder = earlier / name
    spent = read_experiment(folder).spent
    rows = read_rows(folder / "trials.jsonl")
    metrics = read_metrics(folder / BEST_FOLDER / METRICS_FILE)
    assert metrics is not None
    assert [len(row.epochs) for row in rows] == [3, 3, 3]
    assert spent is not None
    assert spent.final_seeds == num_seeds, text
    assert metrics.final is not None
    assert len(metrics.final.networks) + len(metrics.final.left_out) == num_seeds
    assert "Done: 3 trials with 9 epochs" in (folder / "report.html").read_text()
