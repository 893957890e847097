"""Work on an experiment of a bucket on machines without its driver: files come back, tracks go to the bucket."""

from pathlib import Path

import pytest

from data.preprocess import Preprocessing
from model.settings import Settings
from search.cluster.task_runner import _unreadable
from search.experiment import exclusive_writer
from search.promotion.candidates import score_checkpoint
from search.record.epochs import EpochMetrics
from search.record.trials import State
from search.space import SPACES
from search.storage import remote, writer
from search.storage.working_folder import parse_out, storage_path_of
from search.tracking.mirrored import MirroredTracker, mirrored, sync_down_tracks
from search.tracking.tracker import NoTracker, TrackedTrial, Tracking
from tests.support.bucket_files import in_bucket, put, uri_of, working_folder_elsewhere
from tests.support.fakes import trial_row
from tests.support.s3_server import location


@pytest.fixture
def folder(bucket, monkeypatch) -> Path:
    """The working folder of an experiment that is in its bucket."""
    monkeypatch.setattr(writer, "SETTLE_SECONDS", 0.0)
    folder = parse_out(bucket) / "mine"
    put(folder, {"config.json": '{"started": "now"}', "test_scorings.jsonl": "1\n", "best/old.txt": "old"})
    with exclusive_writer(folder):
        pass
    return folder


def deliver(folder: Path) -> int:
    """Do what a promotion does: add to a file that is there, and make a new model."""
    with (folder / "test_scorings.jsonl").open("a") as file:
        file.write("2\n")
    (folder / "best/old.txt").unlink()
    put(folder, {"best/model.onnx": "model", "ray/t000-1/x": "not this"})
    return 42


def test_run_remotely_sees_the_buckets_files_and_returns_what_it_wrote(folder, monkeypatch, tmp_path):
    uri, other = uri_of(folder), working_folder_elsewhere(folder, monkeypatch, tmp_path)
    result, files = remote.run_remotely(other, uri, deliver, other)
    assert (result, files) == (42, {"test_scorings.jsonl": b"1\n2\n", "best/model.onnx": b"model"})
    remote.write_results(folder, files)
    assert (folder / "test_scorings.jsonl").read_text() == "1\n2\n"
    assert [path.name for path in (folder / "best").iterdir()] == ["model.onnx"]


def test_run_remotely_on_the_drivers_machine_writes_into_its_folder(folder):
    with exclusive_writer(folder):
        assert remote.run_remotely(folder, uri_of(folder), deliver, folder) == (42, {})
    assert in_bucket(storage_path_of(folder))["test_scorings.jsonl"] == "1\n2\n"


def test_upload_working_folder_says_that_the_bucket_accepts_nothing(s3_server, folder):
    put(folder, {"final/t000-seed1.pt": "state"})
    with (
        s3_server.refusing(),
        pytest.raises(ValueError, match=r"mine cannot be promoted on the cluster: .* final/"),
    ):
        remote.upload_working_folder(folder)
    remote.upload_working_folder(folder)
    assert in_bucket(storage_path_of(folder))["final/t000-seed1.pt"] == "state"


def test_a_machine_that_reaches_the_bucket_can_work_there(folder, s3_server):
    uri = uri_of(folder)
    assert _unreadable([uri, __file__]) == []
    assert _unreadable([uri, "/nowhere"]) == ["/nowhere"]
    assert _unreadable([s3_server.uri("nobodys"), "/nowhere"]) == [s3_server.uri("nobodys")]


def test_score_checkpoint_reads_it_from_the_bucket(folder):
    name = "ray/t000-1/checkpoint_000000/checkpoint.pt"
    row, settings = trial_row(0, [0.5]), Settings(preprocessing=Preprocessing(), channel_names=("a", "b", "c"))
    with pytest.raises(FileNotFoundError):
        score_checkpoint("t000", row, folder / name, [], settings)
    (storage_path_of(folder) / name).write_bytes(b"no network")
    with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
        score_checkpoint("t000", row, folder / name, [], settings)


class FileTracker(NoTracker):
    """Writes a run's folder, as W&B does: one a leg."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def start(self, trial: TrackedTrial, history=()) -> None:
        self._run = f"wandb/offline-run-{len(history)}-mine-t{trial.number:03d}"
        put(self._folder, {f"{self._run}/run.wandb": "begun"})

    def finish(self, state: State, reason: str) -> None:
        put(self._folder, {f"{self._run}/run.wandb": "ended"})


def test_tracks_of_another_machine_reach_the_bucket_and_then_the_driver(folder, monkeypatch, tmp_path):
    uri, other = uri_of(folder), working_folder_elsewhere(folder, monkeypatch, tmp_path)
    tracking = Tracking(mode="offline", project="p", group="mine", folder=other)
    put(other.parent.parent, {"x": ""})
    tracker = mirrored(FileTracker(other), tracking)
    assert isinstance(tracker, MirroredTracker)
    trial = TrackedTrial(number=3, sample=dict.fromkeys(SPACES["core"], 1), config={})
    (location(uri) / "mine/wandb/offline-run-before-mine-t003/run.wandb").write_bytes(b"of its first leg")
    tracker.start(trial, [EpochMetrics(epoch=1)])
    tracker.log(EpochMetrics(epoch=2))
    tracker.finish(State.PRUNED, "")
    found = {name: content for name, content in in_bucket(storage_path_of(folder)).items() if name.startswith("wandb/")}
    assert found == {"wandb/offline-run-1-mine-t003/run.wandb": "ended"}
    sync_down_tracks(folder)
    assert (folder / "wandb/offline-run-1-mine-t003/run.wandb").read_text() == "ended"
    assert not (folder / "x").exists()


def test_a_tracker_is_mirrored_in_a_bucket_alone(folder, tmp_path):
    tracker = NoTracker()
    for path, mode in ((tmp_path / "mine", "offline"), (folder, "off")):
        assert mirrored(tracker, Tracking(mode=mode, project="p", group="mine", folder=path)) is tracker


def test_a_tracker_where_the_driver_is_leaves_sending_to_it(folder, s3_server):
    tracker = mirrored(FileTracker(folder), Tracking(mode="offline", project="p", group="mine", folder=folder))
    trial = TrackedTrial(number=0, sample={}, config={})
    with exclusive_writer(folder):
        s3_server.requests.clear()
        tracker.start(trial)
        tracker.finish(State.COMPLETE, "")
        assert not [request for request in s3_server.requests if "wandb" in request]
    assert "wandb/offline-run-0-mine-t000/run.wandb" in in_bucket(storage_path_of(folder))
