"""An experiment comes down from its bucket, and which of the two is right; on a real server."""

import json

import pytest

import search
from data.errors import UserError
from search.experiment import exclusive_writer
from search.storage import download
from search.storage.working_folder import parse_out, storage_path_of
from tests.support.bucket_files import EVENTS, exclusive_writer_of, in_bucket, put, working_folder_elsewhere, written
from tests.support.experiments import DICES, write_experiment
from tests.support.hand_model import write_model_of
from tests.support.searching import make_searcher, train


def test_sync_down_copies_everything_but_checkpoints_to_another_machine(folder, monkeypatch, tmp_path):
    written(folder, **{EVENTS: "one\n", "wandb/run/a": "a", "best/model.onnx": "m", "best/card.md": "c"})
    (storage_path_of(folder) / "ray/t000-1/checkpoint_000000/checkpoint.pt").write_bytes(b"state")
    other = working_folder_elsewhere(folder, monkeypatch, tmp_path)
    download.sync_down(other, light=True)
    assert not (other / "wandb").exists()
    assert not (other / "best/model.onnx").exists()
    assert (other / "best/card.md").read_text() == "c"
    download.sync_down(other)
    assert (other / "wandb/run/a").read_text() == "a"
    assert (other / "best/model.onnx").read_text() == "m"
    assert not (other / "ray").exists()
    state = download.ensure_local(other / "ray/t000-1/checkpoint_000000/checkpoint.pt")
    assert state.read_bytes() == b"state"
    with pytest.raises(FileNotFoundError):
        download.ensure_local(other / "ray/nothing")


def test_result_in_a_bucket_is_loaded_without_its_model_which_is_fetched_when_it_predicts(
    bucket, monkeypatch, tmp_path
):
    folder = write_experiment(parse_out(bucket), "mine", dices=dict(DICES))
    train(make_searcher("random", study=folder / "optuna_journal.log"))
    write_model_of(folder / "best/model.onnx", threshold=0.25)
    with exclusive_writer(folder):
        pass
    elsewhere = working_folder_elsewhere(folder, monkeypatch, tmp_path)
    address = bucket.replace("?", "/mine?")
    result = search.load(address)
    assert result.best is not None
    assert result.folder == elsewhere
    assert len(result.study.trials) == 1
    assert not (elsewhere / "best/model.onnx").exists()
    assert result.best.model.settings.threshold == 0.25
    write_model_of(folder / "best/model.onnx", threshold=0.75)  # promoted again on the first machine
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parents[3]))
    with exclusive_writer(folder):
        pass
    working_folder_elsewhere(folder, monkeypatch, tmp_path)
    best = search.load(address).best
    assert best is not None
    assert best.model.settings.threshold == 0.75


def test_sync_down_keeps_a_folder_that_continues_the_bucket(folder):
    written(folder, **{EVENTS: '{"a": 1}\n', "trials.jsonl": "old"})
    put(folder, {EVENTS: '{"a": 1}\n{"b": 2}\n', "trials.jsonl": "new"})
    place = storage_path_of(folder)
    (place / EVENTS).write_bytes(b'{"a": 1}\n{"b"')  # sent while it was written
    download.sync_down(folder)
    assert (folder / EVENTS).read_text() == '{"a": 1}\n{"b": 2}\n'
    assert (folder / "trials.jsonl").read_text() == "new"
    with exclusive_writer(folder):
        pass
    assert in_bucket(place)["trials.jsonl"] == "new"


def test_sync_down_takes_a_bucket_that_continues_the_folder(folder, monkeypatch, tmp_path):
    written(folder, **{EVENTS: "one\n", "report.html": "old"})
    other = working_folder_elsewhere(folder, monkeypatch, tmp_path)
    download.sync_down(other)
    written(other, **{EVENTS: "one\ntwo\n", "report.html": "new"})
    download.sync_down(folder)
    assert (folder / EVENTS).read_text() == "one\ntwo\n"
    assert (folder / "report.html").read_text() == "new"
    assert not (folder.parent / "set-aside").exists()


def test_sync_down_takes_newer_files_of_another_machine_without_a_new_event(folder, monkeypatch, tmp_path):
    written(folder, **{EVENTS: "one\n", "best/card.md": "old"})
    other = working_folder_elsewhere(folder, monkeypatch, tmp_path)
    with exclusive_writer_of(other):
        put(other, {"best/card.md": "new card"})
    download.sync_down(folder)
    assert (folder / "best/card.md").read_text() == "new card"
    with exclusive_writer(folder):
        pass
    put(folder, {"best/card.md": "of a promotion that was killed before it could send"})
    download.sync_down(folder)
    assert (folder / "best/card.md").read_text().startswith("of a promotion")


@pytest.mark.parametrize("began", ["now", "another time"])
def test_sync_down_sets_aside_a_folder_that_diverged_from_its_bucket(folder, monkeypatch, tmp_path, capsys, began):
    written(folder, **{EVENTS: "one\n"})
    other = working_folder_elsewhere(folder, monkeypatch, tmp_path)
    download.sync_down(other)
    written(other, **{EVENTS: "one\ntwo\n"})
    put(folder, {EVENTS: "one\nthree\n", "config.json": json.dumps({"started": began})})
    download.sync_down(folder)
    assert (folder / EVENTS).read_text() == "one\ntwo\n"
    [aside] = (folder.parent / "set-aside").iterdir()
    assert (aside / EVENTS).read_text() == "one\nthree\n"
    assert str(aside) in capsys.readouterr().err


def test_sync_down_leaves_a_folder_alone_that_is_being_written(folder):
    written(folder, **{EVENTS: "one\n"})
    with exclusive_writer(folder):
        (storage_path_of(folder) / EVENTS).write_bytes(b"two\n")
        download.sync_down(folder)
        assert (folder / EVENTS).read_text() == "one\n"
        put(folder, {EVENTS: "one\ntwo\n"})
    assert in_bucket(storage_path_of(folder))[EVENTS] == "one\ntwo\n"


def test_sync_down_from_a_bucket_that_refuses_is_the_users_mistake(s3_server, folder, monkeypatch, tmp_path):
    written(folder, **{EVENTS: "one\n"})
    other = working_folder_elsewhere(folder, monkeypatch, tmp_path)
    storage_path_of(other)  # opened before the bucket begins to refuse
    with s3_server.refusing(), pytest.raises(UserError, match=r"^--out s3://.*: access is denied: give this machine"):
        download.sync_down(other)
    with s3_server.refusing(), pytest.raises(UserError, match="access is denied"):
        download.sync_down_all(other.parent)
