"""Tracking: what a W&B run holds, read back from its file, and that nothing it does harms a trial."""

import base64
import hashlib
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from fakes import trial_row
from wandb_files import read_run, shown
from wandb_server import wandb_server

from model.manifest import write_manifest
from search.tracking import model_artifact, wandb_run
from search.tracking.model_artifact import track_model
from search.tracking.tracker import NoTracker, Tracker, make_tracker, run_id
from search.tracking.wandb_run import WandbTracker
from search.trials import State

CONFIG = {"depth": 4, "learning_rate": 2e-3, "norm": "batch"}
EPOCHS = [
    {"epoch": 1, "val_dice": 0.25, "train_loss": 0.75},
    {"epoch": 2, "val_dice": 0.625, "train_loss": 0.5},
    {"epoch": 3, "val_dice": 0.5, "train_loss": 0.375},
]


@pytest.fixture(scope="module", autouse=True)
def _no_server(tmp_path_factory) -> Iterator[None]:
    """A W&B that knows no server but a closed port of this host; one service process for all tests here."""
    with socket.socket() as closed, pytest.MonkeyPatch.context() as patch:
        closed.bind(("127.0.0.1", 0))  # bound, and nobody listens: every connection is refused
        patch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        patch.setenv("WANDB_API_KEY", 40 * "0")
        for folder in ("CONFIG", "CACHE", "DATA"):
            patch.setenv(f"WANDB_{folder}_DIR", str(tmp_path_factory.mktemp(folder)))
        patch.delenv("WANDB_MODE", raising=False)
        wandb.teardown()  # W&B reads its settings once
        yield
        wandb.teardown()


def track(tracker: Tracker, number: int, epochs=EPOCHS, state: str = State.COMPLETE) -> None:
    tracker.start(number, CONFIG)
    for epoch in epochs:
        tracker.log(epoch)
    tracker.finish(state)


def offline(folder: Path) -> WandbTracker:
    return make_tracker("offline", project="tumours", group="small", folder=folder)


def test_offline_run_has_every_metric_of_every_epoch(tmp_path):
    track(offline(tmp_path), 3)
    run = read_run(tmp_path, 3)
    assert shown(run["history"]) == EPOCHS
    assert CONFIG.items() <= run["config"].items()
    assert (run["project"], run["group"], run["job_type"]) == ("tumours", "small", "trial")
    assert (run["id"], run["name"]) == ("small-t003", "t003")
    assert run["exit_code"] == 0
    assert run["summary"]["best_val_dice"] == 0.625
    assert run["summary"]["best_epoch"] == 2
    assert run["summary"]["state"] == "COMPLETE"


def test_offline_run_of_a_trial_in_legs_is_one_with_every_epoch_once(tmp_path):
    track(offline(tmp_path), 3, EPOCHS[:2], State.PRUNED)
    read_run(tmp_path, 3)  # its end is on disk
    tracker = offline(tmp_path)  # of another lane
    tracker.start(3, CONFIG, EPOCHS[:1])  # the second epoch's checkpoint was lost
    for epoch in EPOCHS[1:]:
        tracker.log(epoch)
    tracker.finish(State.COMPLETE)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1
    run = read_run(tmp_path, 3)
    assert shown(run["history"]) == EPOCHS
    assert run["summary"]["best_epoch"] == 2
    assert run["summary"]["state"] == "COMPLETE"


def test_each_trial_is_a_run_of_its_own(tmp_path):
    tracker = offline(tmp_path)
    track(tracker, 0, EPOCHS[:2], State.PRUNED)
    track(tracker, 1, EPOCHS[:1], State.FAILED)
    runs = [read_run(tmp_path, number) for number in (0, 1)]
    assert [len(run["history"]) for run in runs] == [2, 1]
    assert [run["summary"]["state"] for run in runs] == ["PRUNED", "FAILED"]
    assert [run["summary"]["best_val_dice"] for run in runs] == [0.625, 0.25]
    assert [run["exit_code"] for run in runs] == [0, 1]


def test_run_takes_an_epoch_that_is_not_finite(tmp_path):
    track(offline(tmp_path), 0, [*EPOCHS[:1], {"epoch": 2, "train_loss": math.nan}], State.FAILED)
    run = read_run(tmp_path, 0)
    assert run["history"][1]["epoch"] == 2
    assert run["summary"]["best_val_dice"] == 0.25


def test_trial_that_goes_on_from_a_checkpoint_goes_on_being_tracked(tmp_path):
    # A new lane takes the trial when it is set up, and again when it gets the checkpoint, within one second.
    tracker = offline(tmp_path)
    tracker.start(0, CONFIG)
    track(tracker, 0, EPOCHS[1:])
    assert shown(read_run(tmp_path, 0)["history"]) == EPOCHS[1:]


def test_tracker_without_an_open_run_says_nothing(tmp_path):
    tracker = offline(tmp_path)
    tracker.log(EPOCHS[0])
    tracker.finish(State.FAILED)
    assert list(tmp_path.iterdir()) == []


def test_no_tracker_writes_nothing(tmp_path):
    tracker = make_tracker("off", project="tumours", group="small", folder=tmp_path)
    assert isinstance(tracker, NoTracker)
    track(tracker, 0)
    assert list(tmp_path.iterdir()) == []


def test_online_without_a_server_goes_on_offline_within_seconds(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(wandb_run, "INIT_TIMEOUT_SECONDS", 1.0)
    tracker = make_tracker("online", project="tumours", group="small", folder=tmp_path)
    started = time.monotonic()
    track(tracker, 0)
    assert time.monotonic() - started < 10
    assert "W&B cannot be reached, runs are kept offline in" in caplog.text
    assert "goes on without it" not in caplog.text
    assert shown(read_run(tmp_path, 0)["history"]) == EPOCHS
    started = time.monotonic()
    track(tracker, 1)  # it does not wait for the server again
    assert time.monotonic() - started < 1
    assert shown(read_run(tmp_path, 1)["history"]) == EPOCHS


@pytest.fixture
def best(tmp_path) -> Path:
    """Return the folder of a model."""
    folder = tmp_path / "best"
    (folder / "overlays").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"model")
    (folder / "overlays" / "worst.png").write_bytes(b"picture")
    write_manifest(folder, {"trial": "t003", "commit": "c0ffee"})
    return folder


ROW = trial_row(3, [], epochs=EPOCHS)


def log_best(best: Path, tracking: str) -> str | None:
    return track_model(best, ROW, CONFIG, tracking=tracking, project="tumours", group="small", folder=best.parent)


def test_model_is_an_artifact_of_the_winners_run(tmp_path, best, monkeypatch):
    track(offline(tmp_path), 3)
    read_run(tmp_path, 3)  # its end is on disk
    monkeypatch.chdir(tmp_path)
    assert log_best(Path("best"), "offline") is None
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1
    run = read_run(tmp_path, 3)
    [artifact] = run["artifacts"]
    assert (artifact.type, artifact.name, set(artifact.aliases)) == ("model", "small-model", {"best", "latest"})
    assert artifact.run_id == run["id"] == run_id("small", 3)
    assert json.loads(artifact.metadata) == {"format": 1, "trial": "t003", "commit": "c0ffee"}
    logged = {entry.path: entry for entry in artifact.manifest.contents}
    assert sorted(logged) == ["manifest.json", "model.onnx", "overlays/worst.png"]
    for name, entry in logged.items():
        content = (best / name).read_bytes()
        assert (entry.local_path, entry.size) == (str(best / name), len(content))
        assert entry.digest == base64.b64encode(hashlib.md5(content).digest()).decode()


def test_run_with_the_model_is_the_run_that_was(tmp_path, best):
    track(offline(tmp_path), 3)
    before = read_run(tmp_path, 3)
    log_best(best, "offline")
    after = read_run(tmp_path, 3)
    assert shown(after["history"]) == shown(before["history"]) == EPOCHS
    assert CONFIG.items() <= after["config"].items()
    for name in ("state", "best_val_dice", "best_epoch"):
        assert after["summary"][name] == before["summary"][name]
    assert after["exit_code"] == 0


def test_model_that_cannot_be_logged_is_a_sentence(tmp_path, best):
    (best / "manifest.json").unlink()
    problem = log_best(best, "offline")
    assert problem.startswith(f"The model is in {best}, but not in W&B: {best}/manifest.json does not exist;")
    write_manifest(best, {})
    assert log_best(best, "offline") is None
    assert len(read_run(tmp_path, 3)["artifacts"]) == 1


def test_model_does_not_wait_for_a_server_for_ever(tmp_path, best, monkeypatch):
    monkeypatch.setattr(model_artifact, "MODEL_TIMEOUT_SECONDS", 1e-3)
    assert "but not in W&B: W&B did not answer in time." in log_best(best, "offline")
    [thread] = [thread for thread in threading.enumerate() if thread.name == "model to W&B"]
    thread.join(10)


def test_model_is_kept_offline_without_a_server(tmp_path, best, monkeypatch, caplog):
    monkeypatch.setattr(wandb_run, "INIT_TIMEOUT_SECONDS", 1.0)
    assert log_best(best, "online") is None
    assert "W&B cannot be reached, runs are kept offline in" in caplog.text
    run = read_run(tmp_path, 3)
    assert len(run["artifacts"]) == 1
    assert shown(run["history"]) == EPOCHS


@pytest.fixture
def server(monkeypatch):
    """Return a server that W&B knows as its own."""
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        wandb.teardown()
        yield server
        server.released.set()
        wandb.teardown()


def test_model_reaches_a_server_with_every_file(server, best):
    assert log_best(best, "online") is None
    [created] = [asked["input"] for asked in server.asked["CreateArtifact"]]
    assert (created["runName"], created["artifactTypeName"]) == ("small-t003", "model")
    assert created["artifactCollectionName"] == "small-model"
    assert {alias["alias"] for alias in created["aliases"]} == {"best", "latest"}
    assert len(server.asked["CommitArtifact"]) == 1
    for name in ("manifest.json", "model.onnx", "overlays/worst.png"):
        assert server.files[f"model/{name}"] == (best / name).read_bytes()


def test_model_that_a_server_refuses_is_a_sentence(server, best):
    server.refused = "CreateArtifact"
    problem = log_best(best, "online")
    assert "but not in W&B: " in problem
    assert "no room is left" in problem
    assert problem.endswith(f"wandb artifact put --type model --alias best --name tumours/small-model {best}")


def test_model_does_not_wait_for_a_server_that_falls_silent(server, best, monkeypatch):
    monkeypatch.setattr(model_artifact, "MODEL_TIMEOUT_SECONDS", 1.5)
    server.silent_on = "CreateArtifact"
    started = time.monotonic()
    assert "but not in W&B: W&B did not answer in time." in log_best(best, "online")
    assert time.monotonic() - started < 5
    server.released.set()
    for thread in threading.enumerate():
        if thread.name == "model to W&B":
            thread.join(10)


def test_model_is_not_logged_where_tracking_is_off(tmp_path, best):
    assert log_best(best, "off") is None
    assert list(tmp_path.iterdir()) == [best]
