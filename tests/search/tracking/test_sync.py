"""Sync: what reaches a W&B server from the record of an experiment, through the real client."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from search import sync
from search.experiment import exclusive_writer, recorded_config
from search.tracking.connection import Connection, Patience
from search.tracking.runs import recorded_runs, tracking_of
from search.tracking.sweep import recorded_sweeps
from tests.support.syncing import EPOCHS, RUNS, is_whole, send, sent_epochs
from tests.support.wandb_experiment import write_tracked_experiment
from tests.support.wandb_server import Server, wandb_server

pytestmark = pytest.mark.slow

SLOW = pytest.mark.slow
"""For what W&B's client takes its time for, or does as others that are tested always."""


@pytest.fixture(scope="module")
def sender(tmp_path_factory) -> Path:
    """Return the folder from which it was sent to that server."""
    folder = tmp_path_factory.mktemp("sent")
    write_tracked_experiment(folder / "small")
    return folder


@pytest.fixture(scope="module")
def sent(no_wandb_server, sender) -> Iterator[tuple[Server, str]]:
    """Return a server that has taken the experiment, and what was said on the screen; to be looked at only."""
    with wandb_server() as server, pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as screen:
        patch.setenv("WANDB_BASE_URL", server.url)
        assert send(sender) == 0
        yield server, screen.getvalue()


@pytest.fixture
def taken(sent, sender, tmp_path, monkeypatch) -> Iterator[tuple[Server, Path]]:
    """Return that server as W&B's own, and a copy of the folder; the server is left as it was."""
    server, _ = sent
    kept = copy.deepcopy((server.runs, server.files, server.sweeps, server.asked))
    shutil.copytree(sender / "small", tmp_path / "runs" / "small")
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    server.asked.clear()
    yield server, tmp_path / "runs"
    server.runs, server.files, server.sweeps, server.asked = kept


def test_sync_sends_every_metric_of_every_epoch_of_every_trial(sent):
    server, screen = sent
    assert is_whole(server)
    for name, row in RUNS.items():
        run = server.runs[name]
        for line, epoch in zip(run.history, row.epochs, strict=True):
            assert epoch.to_json().items() <= line.items()
        assert row.sample.items() <= run.config.items()
        assert run.facts["groupName"] == "small"
        assert run.facts["displayName"].startswith(f"t{row.number:03d} lr ")
        assert run.summary["best_val_dice"] == row.best_dice
    assert screen.startswith("3 runs of small: 3 sent\n")


def test_sync_attaches_all_runs_to_one_sweep_and_says_its_page(sent):
    server, screen = sent
    assert len(server.sweeps) == 1
    assert {run.facts["sweep"] for run in server.runs.values()} == {"sweep1"}
    assert f"Sweep  {server.url}/me/tumours/sweeps/sweep1\n" in screen


def test_sync_says_how_trials_ended(sent):
    server, _ = sent
    said = {name: (run.summary["state"], run.summary["reason"], run.exit_code) for name, run in server.runs.items()}
    assert said == {
        "small-t000": ("COMPLETE", "", 0),
        "small-t001": ("PRUNED", "interrupted", 0),
        "small-t002": ("FAILED", "RuntimeError: raised", 1),
    }


def test_sync_sends_tables_and_the_model_from_where_they_are_now(sent):
    server, _ = sent
    names = {created["input"]["artifactCollectionName"] for created in server.asked["CreateArtifact"]}
    assert names == {"small-model", "run-small-t000-validation_slices"}
    assert server.files["model/model.onnx"] == b"model"
    assert sum(name.startswith("model/media/images/") for name in server.files) > 2
    assert "validation_slices" in server.runs["small-t000"].history[1]


def test_second_sync_sends_nothing(taken, capsys):
    server, out = taken
    assert send(out) == 0
    assert server.asked == {}
    assert "3 runs of small: 3 sent before\n" in capsys.readouterr().out


def test_run_that_changed_is_sent_again_and_no_other(taken):
    server, out = taken
    rows = (out / "small" / "trials.jsonl").read_text().splitlines()
    changed = json.loads(rows[1]) | {"error": "time budget spent"}
    (out / "small" / "trials.jsonl").write_text("\n".join([rows[0], json.dumps(changed), rows[2], ""]))
    assert send(out) == 0
    assert {asked["name"] for asked in server.asked["UpsertBucket"]} == {"small-t001"}
    assert server.runs["small-t001"].summary["reason"] == "time budget spent"
    assert is_whole(server)
    assert len(server.sweeps) == 1


def test_run_that_was_sent_by_half_is_completed_not_doubled(taken):
    server, out = taken
    for run in server.runs.values():
        del run.lines[1:]
        run.summary["_step"] = 0  # which came with that line
    (out / "small" / "sent.jsonl").unlink()
    assert send(out) == 0
    assert is_whole(server)


def test_trial_that_was_killed_is_sent_as_far_as_it_went(server, out):
    rows = (out / "small" / "trials.jsonl").read_text().splitlines()
    (out / "small" / "trials.jsonl").write_text("\n".join([*rows[1:], ""]))
    with (out / "small" / "events.jsonl").open("a") as log:
        log.write('{"event": "epo')  # it was killed in the middle of this
    assert send(out) == 0
    assert sent_epochs(server) == EPOCHS
    assert server.runs["small-t000"].exit_code == 1  # W&B's word for it, until the search is resumed
    assert "state" not in server.runs["small-t000"].summary


def test_experiment_of_an_earlier_version_is_sent(server, out):
    config = json.loads((out / "small" / "config.json").read_text())
    config["data"]["num_channels"] = None
    (out / "small" / "config.json").write_text(json.dumps(config))
    [slices] = (out / "small" / "wandb" / "slices").iterdir()
    slices.rename(slices.with_name("t000.npz"))
    sent_before = {"place": f"{server.url} - tumours", "run": "small-t000", "digest": "of its file"}
    (out / "small" / "sent.jsonl").write_text(json.dumps(sent_before) + "\n")
    assert send(out) == 0
    assert is_whole(server)


@SLOW
def test_another_project_has_another_sweep(taken):
    server, out = taken
    assert send(out, "--project", "other") == 0
    assert [sweep.place.split()[-1] for sweep in recorded_sweeps(out / "small")] == ["tumours", "other"]
    assert [sweep["projectName"] for sweep in server.sweeps] == ["tumours", "other"]
    assert server.runs["small-t000"].facts["project"] == "other"


@SLOW
def test_runs_that_were_sent_by_wandb_sync_are_not_doubled(server, out):
    tracking = tracking_of(recorded_config(out / "small"))
    connection = Connection(tracking, patience=Patience())
    assert [outcome.problem for outcome in connection.send(recorded_runs(tracking), jobs=1)] == 3 * [None]
    connection.close()
    folders = [str(folder) for folder in (out / "small" / "wandb").glob("offline-run-*")]
    subprocess.run([Path(sys.executable).with_name("wandb"), "sync", *folders], check=True, capture_output=True)
    assert is_whole(server)
    assert send(out) == 0
    assert is_whole(server)
    assert {run.facts["sweep"] for run in server.runs.values()} == {"sweep1"}


def test_dry_run_sends_nothing(server, out, capsys):
    assert send(out, "--dry-run") == 0
    assert server.asked == {}
    said = capsys.readouterr().out
    assert said == f"3 of 3 runs would be sent to {server.url}, project tumours: {', '.join(RUNS)}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--jobs", "0"], "jobs is 0, but must be at least 1"),
        (["--project", ""], "project is '', but must be a name, or left out"),
    ],
)
def test_mistake_is_refused(server, out, capsys, options, message):
    assert send(out, *options) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_unknown_experiment_is_refused(out, capsys):
    assert sync.main(["unknown", "--out", str(out)]) == 2
    assert "unknown is not an experiment of this program" in capsys.readouterr().err
    assert not (out / "unknown").exists()


def test_experiment_that_was_not_tracked_is_refused(out, capsys):
    shutil.rmtree(out / "small" / "wandb")
    config = (out / "small" / "config.json").read_text()
    (out / "small" / "config.json").write_text(config.replace('"tracking": "offline"', '"tracking": "off"'))
    assert send(out) == 2
    assert "has no W&B runs: it was searched with --tracking off, or nothing was trained" in capsys.readouterr().err


def test_search_that_runs_is_left_alone(server, out, capsys):
    with exclusive_writer(out / "small"):
        assert send(out) == 2
    assert "another search or promotion is writing to" in capsys.readouterr().err
    assert server.asked == {}
