"""Sync when it is killed, when the server fails, or when a file is not what it was: nothing is lost or doubled."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from search import sync
from search.experiment import recorded_config
from search.space.named import SPACES
from search.tracking.process import PROGRAM
from search.tracking.runs import recorded_runs, tracking_of
from tests.support.process_tree import descendants
from tests.support.syncing import EPOCHS, RUNS, is_whole, open_connection, send, sent_epochs, unsent_names
from tests.support.tracked import wait_until

SLOW = pytest.mark.slow
"""For what W&B's client takes its time for, or does as others that are tested always."""


@pytest.mark.slow
def test_sync_that_is_killed_is_completed_by_the_next(server, out):
    connection = open_connection(out)
    connection.open_sweep(SPACES["core"], searcher="tpe")
    runs = recorded_runs(tracking_of(recorded_config(out / "small")))
    assert next(connection.send(runs, jobs=1)).problem is None
    connection.close()  # in the middle
    assert len(unsent_names(out)) == 2
    assert send(out) == 0
    assert is_whole(server)
    assert len(server.sweeps) == 1
    assert not (out / "small" / sync.SCRATCH_FOLDER).exists()


@pytest.mark.slow
def test_client_ends_with_the_sync_that_was_killed(server, out):
    server.silent_on = "*"
    command = [sys.executable, "-m", "search.sync", "small", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: server.asked)
    clients = [pid for pid, command in descendants(process.pid).items() if PROGRAM in command]
    assert len(clients) == 1
    process.kill()
    process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in clients), seconds=5)


@pytest.mark.slow
def test_server_that_dies_costs_nothing(server, out, capsys):
    server.dies = lambda operation, values: len(server.asked.get("FileStream", [])) > 2
    assert send(out, "--jobs", "1") == 1
    said = capsys.readouterr()
    assert "not sent: small-t0" in said.err
    assert "The same command sends what is missing" in said.out
    server.dies, server.is_dead = (lambda operation, values: False), False
    assert send(out) == 0
    assert is_whole(server)


@pytest.mark.parametrize(
    "operation", ["FileStream", pytest.param("*", marks=SLOW), pytest.param("UpsertBucket", marks=SLOW)]
)
@pytest.mark.slow
def test_server_that_is_broken_costs_nothing(server, out, capsys, operation):
    server.broken_on = operation
    assert send(out, silent_seconds=20.0) == 1
    said = capsys.readouterr().err
    assert all(run in said for run in RUNS)
    assert unsent_names(out) == list(RUNS)
    server.broken_on = ""
    assert send(out) == 0
    assert is_whole(server)


@SLOW
def test_file_that_did_not_get_through_is_missed(server, out, capsys):
    server.broken_on = "Upload"
    assert send(out) == 1
    assert "not sent: small-t000: " in capsys.readouterr().err
    server.broken_on = ""
    assert send(out) == 0
    assert is_whole(server)


@pytest.mark.parametrize("operation", ["FileStream", pytest.param("*", marks=SLOW)])
@pytest.mark.slow
def test_server_that_is_silent_is_not_waited_for(server, out, capsys, operation):
    server.silent_on = operation
    started = time.monotonic()
    assert send(out, silent_seconds=4) == 1
    assert time.monotonic() - started < 20
    assert f"error: W&B at {server.url}: no answer for 4 seconds\n" in capsys.readouterr().err
    assert unsent_names(out) == list(RUNS)


def test_sync_without_a_server_says_so(out, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert send(out) == 1
    assert "connection refused" in capsys.readouterr().err


@SLOW
def test_sync_without_a_key_says_so(server, out, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", "/nowhere")
    assert send(out) == 1
    assert "there is no API key: log in by `wandb login`, or set WANDB_API_KEY" in capsys.readouterr().err


def test_model_that_is_gone_is_said_and_the_rest_is_sent(server, out, capsys):
    (out / "small" / "best" / "model.onnx").unlink()
    assert send(out) == 1
    said = capsys.readouterr().err
    assert "not sent: small-t000: its artifact small-model is left out: " in said
    assert "best/model.onnx does not exist any more" in said
    assert "model/model.onnx" not in server.files
    assert sent_epochs(server) == EPOCHS


@SLOW
def test_model_that_has_changed_is_not_sent_as_what_it_was(server, out, capsys):
    (out / "small" / "best" / "model.onnx").write_bytes(b"other")
    assert send(out) == 1
    assert "best/model.onnx has changed since it was exported" in capsys.readouterr().err
    assert "model/model.onnx" not in server.files
