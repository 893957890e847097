"""A whole search in a bucket: killed, resumed by a machine that has nothing of it, reported by another, fetched."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from model import manifest
from search import fetch
from search.coordination.checkpoints import Checkpoints
from search.record.trials import State, read_rows
from search.report import __main__ as report
from search.storage.working_folder import parse_out
from tests.support.s3_server import location

pytestmark = pytest.mark.ray

TINY = ("--data", "phantom:6", "--size", "64", "--width", "4", "--trials", "2", "--max-epochs", "2")
PATIENCE_SECONDS = 240


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.slow
def test_search_in_a_bucket_is_killed_resumed_reported_and_fetched(bucket, tmp_path):
    place, working = location(bucket) / "mine", parse_out(bucket) / "mine"
    command = [sys.executable, "-m", "search.tune", "--out", bucket, "--name", "mine", *TINY, "--scheduler", "none"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _has(place / "events.jsonl", '"number": 1'):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    epochs_before = len(re.findall('"event": "epoch"', (place / "events.jsonl").read_bytes().decode()))
    shutil.rmtree(working)  # the machine is gone, with all that was on it
    resume = [sys.executable, "-m", "search.tune", "--out", bucket, "--resume", "mine"]
    ended = subprocess.run(resume, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "resumed: " in ended.stdout
    assert epochs_before >= 1
    rows = read_rows(working / "trials.jsonl")
    assert [row.state for row in rows] == 2 * [State.COMPLETE]
    assert all([epoch.epoch for epoch in row.epochs] == [1, 2] for row in rows)
    assert json.loads((place / "best/metrics.json").read_bytes())["num_test_scorings"] == 1
    assert json.loads((place / "lease.json").read_bytes())["released"]
    names = {place.relative_name(info) for info in place.list_folder(recursive=True) if info.is_file}
    assert {row.checkpoint for row in rows if row.checkpoint} <= names
    assert {"config.json", "report.html", "trials.jsonl", "best/model.onnx", "best/manifest.json"} <= names
    recorded = (place / "config.json").read_bytes().decode()
    assert json.loads(recorded)["config"]["out"] == bucket
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in recorded

    shutil.rmtree(working)
    (place / "report.html").remove()
    assert report.main(["mine", "--out", bucket]) == 0
    assert (place / "report.html").read_bytes()

    runs = tmp_path / "runs"
    assert fetch.main(["mine", "--out", bucket, "--to", str(runs), "--checkpoints"]) == 0
    assert manifest.main([str(runs / "mine/best")]) == 0
    assert all((runs / "mine" / row.checkpoint).exists() for row in rows)
    last = Checkpoints(runs / "mine/ray")
    best = [last.best(row.number) for row in rows]
    assert [checkpoint and last.relative(checkpoint) for checkpoint in best] == [row.checkpoint for row in rows]


def _has(file, words: str) -> bool:
    try:
        return words in file.read_bytes().decode()
    except FileNotFoundError:
        return False
