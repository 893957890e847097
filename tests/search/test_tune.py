"""The command as a user runs it: real Ray, real Optuna, real W&B files, real processes killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
import torch

from search.record.trials import State, TrialRow, read_rows
from search.tune import main
from tests.support.process_tree import descendants

# .ci/run runs a whole search before the tests: command 1 of the README.
pytestmark = [pytest.mark.ray, pytest.mark.slow]

TINY = (
    "--data",
    "phantom:6",
    "--size",
    "64",
    "--width",
    "4",
    "--trials",
    "4",
    "--max-epochs",
    "3",
    "--max-concurrent",
    "1",
)
PATIENCE_SECONDS = 240
running: list[subprocess.Popen] = []


def start(out: Path, name: str, *options: str) -> subprocess.Popen:
    """Start a search in a process group of its own, as a terminal does."""
    command = [sys.executable, "-m", "search.tune", "--out", str(out), "--name", name, *TINY, *options]
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    with (out / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    running.append(process)
    return process


def finish(process: subprocess.Popen, out: Path, name: str) -> str:
    """Return what a search printed, after it has ended with status 0."""
    status = process.wait(PATIENCE_SECONDS)
    text = (out / f"{name}.log").read_text()
    assert status == 0, text
    return text


def run(out: Path, name: str, *options: str) -> str:
    return finish(start(out, name, *options), out, name)


def resume(out: Path, name: str, *options: str) -> str:
    """Return what a resumed search printed, after it has ended with status 0."""
    command = [sys.executable, "-m", "search.tune", "--out", str(out), "--resume", name, *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def rows(out: Path, name: str) -> list[TrialRow]:
    return read_rows(out / name / "trials.jsonl")


def numbers(row: TrialRow) -> tuple:
    """Return what must repeat: all metrics except times and memory."""
    clock = ("seconds", "val_seconds", "waiting_seconds", "elapsed_seconds", "peak_memory_mb")
    epochs = [{key: value for key, value in epoch.to_json().items() if key not in clock} for epoch in row.epochs]
    return row.number, row.state, row.sample, epochs


def wait_for_line(path: Path, pattern: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not re.search(pattern, path.read_text() if path.exists() else ""):
        assert time.monotonic() < deadline, f"{pattern!r} never came: {path.read_text()}"
        time.sleep(0.05)


def kill_one(process: subprocess.Popen, title: str) -> None:
    victims = [pid for pid, command in descendants(process.pid).items() if command.startswith(title)]
    assert victims, descendants(process.pid)
    os.kill(victims[0], signal.SIGKILL)


@pytest.fixture(autouse=True)
def _no_search_outlives_its_test():
    yield
    for process in running:
        if process.poll() is None:  # only if the test failed
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    running.clear()


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> tuple[Path, str]:
    """An undisturbed search, and what it printed."""
    out = tmp_path_factory.mktemp("runs")
    return out, run(out, "plain")


def test_search_leaves_what_it_promises(plain):
    out, text = plain
    folder = out / "plain"
    for name in ("config.json", "trials.jsonl", "optuna_journal.log", "report.html", "wandb", "ray"):
        assert (folder / name).exists(), name
    for name in ("model.onnx", "checkpoint.pt", "metrics.json", "card.md", "overlays"):
        assert (folder / "best" / name).exists(), name
    assert not any(words in text for words in ("\x1b", "Warning", "WARNING", "Traceback", "raylet", "Usage stats")), (
        text
    )
    assert re.search(r"^Ray's logs +/.*/logs *$", text, re.MULTILINE)
    metrics = json.loads((folder / "best" / "metrics.json").read_text())
    assert f"Winner      {metrics['trial']}" in text
    assert f"Test Dice   {metrics['test']['dice']['mean']:.4f}" in text
    assert metrics["parity"]["max_probability_difference"] <= 1e-4
    config = json.loads((folder / "config.json").read_text())
    assert {row["patient"] for row in metrics["test_patients"]} == set(config["data"]["split"]["test"])


def test_search_table_has_every_trial_and_epoch(plain):
    table = rows(plain[0], "plain")
    assert [row.number for row in table] == [0, 1, 2, 3]
    for row in table:
        assert [epoch.epoch for epoch in row.epochs] == list(range(1, len(row.epochs) + 1))
        assert row.state == (State.COMPLETE if len(row.epochs) == 3 else State.PRUNED)


def test_search_is_one_wandb_run_a_trial(plain):
    assert len(list((plain[0] / "plain" / "wandb").glob("offline-run-*"))) == 4


def test_predict_runs_the_promoted_model(plain, tmp_path):
    out, _ = plain
    patient = next(out.glob("phantom*/kaggle_3m/PHANTOM_0001"))
    command = [sys.executable, "-m", "model.predict", str(out / "plain" / "best"), str(patient), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    assert len(list(tmp_path.glob("PHANTOM_0001/*_mask.tif"))) == 12


@pytest.mark.slow  # slow, because tests/cluster also loses a driver, and test_preemption.py a lane, in mid-epoch
def test_search_that_loses_its_lane_and_its_driver_ends_in_the_same_model(plain):
    out, _ = plain
    name = "killed"
    process = start(out, name, "--tracking", "off")
    wait_for_line(out / f"{name}.log", r"t000 epoch 1")
    kill_one(process, "ray::Lane")
    wait_for_line(out / f"{name}.log", r"lost its worker group")  # trials are short, so two may have ended by then
    wait_for_line(out / f"{name}.log", r"\[2/4\]")
    process.kill()
    process.wait()
    text = (out / f"{name}.log").read_text()
    reason = r"\(The actor died unexpectedly before finishing this task\)"
    [trial] = re.findall(rf"  (t\d+) lost its worker group {reason}; errors/\1\.txt$", text, re.MULTILINE)
    assert "raylet" not in text
    error = (out / name / "errors" / f"{trial}.txt").read_text()
    assert re.search(r"\tpid: (\d+)\n(.|\n)*/worker-\w+-\d+-\1\.err, its end:\n", error), error

    assert "resumed: " in resume(out, name)
    assert list(map(numbers, rows(out, name))) == list(map(numbers, rows(out, "plain")))
    metrics = [json.loads((out / each / "best" / "metrics.json").read_text()) for each in (name, "plain")]
    assert metrics[0]["test"] == metrics[1]["test"]
    # The weights of the model repeat bit for bit.
    states = [torch.load(out / each / "best" / "checkpoint.pt", weights_only=True) for each in (name, "plain")]
    for key, tensor in states[0]["network"].items():
        assert torch.equal(tensor, states[1]["network"][key]), key


@pytest.mark.slow  # slow, because tests/cluster also loses a host of a group of two
@pytest.mark.parametrize("victim", ["RayTrainWorker", "Lane"])
def test_search_continues_after_a_part_of_a_group_of_two_is_killed(plain, victim):
    out, _ = plain
    options = ("--workers-per-trial", "2", "--trials", "2", "--max-epochs", "9", "--scheduler", "none")
    process = start(out, victim, *options, "--tracking", "off")
    wait_for_line(out / victim / "events.jsonl", r'"event": "epoch", "number": 0, "metrics": {"epoch": 2')
    kill_one(process, f"ray::{victim}")
    assert "lost its worker group" in finish(process, out, victim)
    first = rows(out, victim)[0]
    assert first.state == State.COMPLETE
    assert [epoch.epoch for epoch in first.epochs] == list(range(1, 10))
    # Data and weights are the same, but each worker draws the dropout of its share, and bf16 rounds.
    assert first.epochs[0].train_loss == pytest.approx(rows(out, "plain")[0].epochs[0].train_loss, rel=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("plain", "--seed", "1"), "seed is 1, but was 0 when plain began"),
        (("plain", "--data", "phantom:3"), "are not those that plain began with"),
        (("nothing",), "is not an experiment of this program"),
    ],
)
def test_resumed_search_refuses_what_it_cannot_compare(plain, options, words, capsys):
    assert main(["--out", str(plain[0]), "--resume", *options]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "Search plain" not in said.out, "a Ray was started for it"
    assert not ray.is_initialized()


def test_dry_run_writes_nothing(plain, monkeypatch, capsys):
    out, _ = plain
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main(["--out", str(out), "--name", "dry", *TINY, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "3 workers" not in text
    for words in ("learning_rate", "test", "patients", "at a time", "written to"):
        assert words in text
    assert not (out / "dry").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--data", "nowhere"), "nowhere"),
        (("--size", "100"), "size is 100"),
        (("--data", "phantom:2"), 'the number of phantoms is "2"'),
        (("--workers-per-trial", "3"), "workers_per_trial (3)"),
        (("--name", "plain"), "plain exists already"),
        (("--folds", "50"), "folds is 50, but there are"),
        (("--out", "/proc/runs"), "/proc/runs cannot be written"),
    ],
)
def test_mistake_ends_in_one_sentence_before_training(plain, options, words, capsys):
    try:
        status = main(["--out", str(plain[0]), "--name", "mistake", *options])
    except SystemExit as exit_:
        status = exit_.code
    assert status == 2
    assert words in re.sub(r"[\s│]+", " ", capsys.readouterr().err)  # tyro frames its messages
    assert not ray.is_initialized()
