"""A whole search as a user runs it, with a W&B server: what it is sent, and what is said where it is of no use."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from search.record.trials import read_rows
from tests.support.wandb_server import Server, wandb_server

pytestmark = pytest.mark.ray

KEY = 20 * "ef"
TINY = ("--data", "phantom:6", "--size", "64", "--width", "8", "--no-choose")
ONLINE = ("--tracking", "online", "--project", "tumours")


def search(server: Server, out: Path, *options: str) -> str:
    """Return what a search printed, which ended well."""
    command = [sys.executable, "-m", "search.tune", "--out", str(out), "--name", "small", *TINY, *ONLINE, *options]
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "WANDB_SERVICE")}
    environment |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.slow
def test_server_gets_every_trial_of_a_search(tmp_path):
    with wandb_server() as server:
        server.key = KEY
        text = search(server, tmp_path, "--trials", "3", "--max-epochs", "3")
    folder = tmp_path / "small"
    assert "W&B cannot" not in text
    assert "not in W&B" not in text
    assert "Traceback" not in text
    assert server.files["model/model.onnx"] == (folder / "best" / "model.onnx").read_bytes()
    assert sorted(server.runs) == ["small-t000", "small-t001", "small-t002"]
    for row in read_rows(folder / "trials.jsonl"):
        run = server.runs[f"small-{row.id}"]
        epochs = [replace(epoch, elapsed_seconds=None).to_json() for epoch in row.epochs]
        logged = [{name: value for name, value in entry.items() if name in epochs[0]} for entry in run.history]
        assert logged == json.loads(json.dumps(epochs))
        assert run.facts["displayName"].startswith(f"{row.id} lr ")
        assert run.config.items() >= (row.sample | {"experiment": "small", "searcher": "prior_gp"}).items()
        assert run.summary["state"] == row.state
        assert run.summary["best_val_dice"] == row.best_dice
        assert row.best_epoch is not None
        assert run.summary["best_epoch"] == row.best_epoch.epoch
        assert run.summary["peak_memory_mb"] > 100
    assert "validation_slices" in server.runs["small-t000"].history[0]
    kinds = {asked["input"]["artifactTypeName"] for asked in server.asked["CreateArtifact"]}
    assert kinds == {"run_table", "model"}
    assert KEY not in text
    assert [file for file in folder.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()] == []


@pytest.mark.slow  # what one trial does then, tests/search/tracking/test_tracking_online.py has
def test_search_goes_on_where_a_server_breaks_in_its_middle(tmp_path):
    with wandb_server() as server:
        server.dies = lambda operation, values: len(server.runs) == 2  # with the second trial
        text = search(server, tmp_path, "--trials", "3", "--max-epochs", "1")
    assert text.count("W&B cannot be reached, runs are kept offline in") == 1
    assert "Winner" in text
    assert "Traceback" not in text
    kept = {file.stem for file in (tmp_path / "small" / "wandb").glob("*run-*/*.wandb")}
    assert kept == {"run-small-t000", "run-small-t001", "run-small-t002"}
