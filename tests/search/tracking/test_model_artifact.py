"""The model of a search in its winner's run: there with every file, or a sentence says why not."""

import base64
import hashlib
import json
import time
from pathlib import Path

import pytest

from model.manifest import ModelProvenance, write_manifest
from search.record.trials import TrialRow
from search.space.named import SPACES
from search.tracking.connection import Patience
from search.tracking.model_artifact import MODEL_PATIENCE, track_model
from search.tracking.outage import note_outage
from search.tracking.runs import run_id
from tests.support.fakes import trial_row
from tests.support.tracked import EPOCHS, SAMPLE, keep_some_slices, open_offline, track, tracking
from tests.support.wandb_files import read_run, shown

pytestmark = [pytest.mark.usefixtures("no_wandb_server"), pytest.mark.slow]

ROW = trial_row(3, [], sample=SAMPLE, epochs=[epoch.at(1.0) for epoch in EPOCHS])


@pytest.fixture
def best(tmp_path) -> Path:
    """Return the folder of a model."""
    folder = tmp_path / "best"
    (folder / "overlays").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"model")
    (folder / "overlays" / "worst.png").write_bytes(b"picture")
    write_manifest(folder, ModelProvenance(trial="t003", commit="c0ffee"))
    return folder


def log_best(best: Path, mode: str, row: TrialRow = ROW, patience: Patience = MODEL_PATIENCE) -> str | None:
    tracked = tracking(best.absolute().parent, mode)
    return track_model(best, row, tracked, space=SPACES["core"], searcher="tpe", patience=patience)


def test_model_is_an_artifact_of_the_winners_run(tmp_path, best, monkeypatch):
    tracker = open_offline(tmp_path)
    track(tracker, 3)
    tracker.close()
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
    keep_some_slices(tmp_path, 3)
    tracker = open_offline(tmp_path)
    (best / "manifest.json").rename(best / "later.json")  # while it was searched, there was no model
    track(tracker, 3)
    tracker.close()
    before = read_run(tmp_path, 3)
    (best / "later.json").rename(best / "manifest.json")
    log_best(best, "offline")
    after = read_run(tmp_path, 3)
    assert shown(after["history"]) == shown(before["history"]) == EPOCHS
    assert "validation_slices" in after["history"][1]
    assert len(before["artifacts"]) == 1
    assert len(after["artifacts"]) == 2
    assert after["config"] == before["config"] | {"_wandb": after["config"]["_wandb"]}
    for name in ("name", "group", "job_type", "exit_code"):
        assert after[name] == before[name]
    for name in ("state", "reason", "best_val_dice", "best_epoch", "peak_memory_mb"):
        assert after["summary"][name] == before["summary"][name]


def test_model_that_cannot_be_logged_is_a_sentence(tmp_path, best):
    (best / "manifest.json").unlink()
    problem = log_best(best, "offline")
    assert problem is not None
    assert problem.startswith(f"The model is in {best}, but not in W&B: {best}/manifest.json does not exist;")
    write_manifest(best, ModelProvenance())
    assert log_best(best, "offline") is None
    assert len(read_run(tmp_path, 3)["artifacts"]) == 1


def test_model_is_kept_offline_after_an_outage(tmp_path, best):
    note_outage(tmp_path, "W&B cannot be reached")
    started = time.monotonic()
    assert log_best(best, "online") is None
    assert time.monotonic() - started < 10
    run = read_run(tmp_path, 3)
    assert len(run["artifacts"]) == 1
    assert shown(run["history"]) == EPOCHS


def test_model_reaches_a_server_with_every_file(server, best):
    assert log_best(best, "online") is None
    [created] = [asked["input"] for asked in server.asked["CreateArtifact"]]
    assert (created["runName"], created["artifactTypeName"]) == ("small-t003", "model")
    assert created["artifactCollectionName"] == "small-model"
    assert server.runs["small-t003"].facts["sweep"] == "sweep1"
    assert {alias["alias"] for alias in created["aliases"]} == {"best", "latest"}
    assert len(server.asked["CommitArtifact"]) == 1
    for name in ("manifest.json", "model.onnx", "overlays/worst.png"):
        assert server.files[f"model/{name}"] == (best / name).read_bytes()
    assert shown(server.runs["small-t003"].history) == EPOCHS


def test_model_that_a_server_refuses_is_a_sentence(server, best):
    server.refused = "CreateArtifact"
    problem = log_best(best, "online")
    assert problem is not None
    assert "but not in W&B: " in problem
    assert "no room is left" in problem
    assert problem.endswith(f"wandb artifact put --type model --alias best --name tumours/small-model {best}")


def test_model_does_not_wait_for_a_server_that_falls_silent(server, best):
    server.silent_on = "CreateArtifact"
    started = time.monotonic()
    problem = log_best(best, "online", patience=Patience(answer_seconds=2.0))
    assert problem is not None
    assert "but not in W&B: no answer for 2 seconds." in problem
    assert time.monotonic() - started < 7


@pytest.mark.parametrize("mode", ["off", "tensorboard"])
def test_model_is_not_logged_without_wandb(tmp_path, best, mode):
    assert log_best(best, mode) is None
    assert list(tmp_path.iterdir()) == [best]
