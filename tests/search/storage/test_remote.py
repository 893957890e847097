"""Work on an experiment of a bucket on machines without its driver: files come back, tracks go to the bucket."""

from pathlib import Path

import pytest

from data.errors import UserError
from data.preprocess import Preprocessing
from model.settings import Settings
from search.cluster.task_runner import _unreadable
from search.experiment import exclusive_writer
from search.promotion.candidates import score_checkpoint
from search.storage import remote, writer
from search.storage.working_folder import parse_out, storage_path_of
from tests.support.bucket_files import in_bucket, put, uri_of, working_folder_elsewhere
from tests.support.fakes import trial_row


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
        pytest.raises(UserError, match=r"mine cannot be promoted on the cluster: .* final/"),
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
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        score_checkpoint("t000", row, folder / name, [], settings)
