"""A working folder is uploaded to its bucket: what, in which order, how often; on a real server."""

import shutil

from search.storage import uploader
from search.storage.uploader import Uploader
from search.storage.working_folder import storage_path_of
from tests.support.bucket_files import EVENTS, in_bucket, put


def puts(requests: list[str]) -> list[str]:
    return [request.split("?")[0].partition("mine/")[2] for request in requests if request.startswith("PUT")]


def test_uploader_uploads_changes_and_begins_with_what_resuming_needs(s3_server, folder):
    place = storage_path_of(folder)
    sent = {
        "wandb/run/a.wandb": "a",
        "best/manifest.json": "hashes",
        "best/model.onnx": "model",
        EVENTS: "one\n",
        "config.json": "{}",
        "trials.jsonl": "row\n",
    }
    put(folder, sent | {"ray/t000-1/error.txt": "x", "lock": "", "best.partial/model.onnx": "half", "a.partial": "h"})
    uploading = Uploader(folder, place)
    s3_server.requests.clear()
    assert uploading.upload() == []
    assert in_bucket(place) == sent
    order = puts(s3_server.requests)
    assert order[:3] == ["config.json", EVENTS, "trials.jsonl"]
    assert order[-1] == "best/manifest.json"
    s3_server.requests.clear()
    assert uploading.upload() == []
    assert s3_server.requests == [], "nothing has changed"
    put(folder, {EVENTS: "one\ntwo\n"})
    shutil.rmtree(folder / "wandb")
    assert uploading.upload(everything=True) == []
    assert puts(s3_server.requests)[0] == EVENTS
    del sent["wandb/run/a.wandb"]
    assert in_bucket(place) == sent | {EVENTS: "one\ntwo\n"}
    s3_server.requests.clear()
    assert Uploader(folder, place).upload() == []
    assert s3_server.requests == [], "another mirror knows what was sent"


def test_uploader_leaves_files_of_others_in_the_bucket(folder):
    place = storage_path_of(folder)
    (place / "wandb/of another machine").write_bytes(b"x")
    put(folder, {"config.json": "{}"})
    Uploader(folder, place).upload()
    assert set(in_bucket(place)) == {"config.json", "wandb/of another machine"}


def test_uploader_uploads_a_growing_file_no_more_often_than_its_size_allows(folder, monkeypatch):
    place = storage_path_of(folder)
    monkeypatch.setattr(uploader, "BYTES_PER_SECOND", 1.0)
    put(folder, {EVENTS: "1234567890"})
    one = Uploader(folder, place)
    one.upload()
    put(folder, {EVENTS: "12345678901"})
    assert one.upload() == []
    assert in_bucket(place)[EVENTS] == "1234567890"
    assert one.close() == []
    assert in_bucket(place)[EVENTS] == "12345678901"


def test_uploader_says_once_that_a_bucket_refuses_and_uploads_later(s3_server, folder):
    place, said = storage_path_of(folder), []
    put(folder, {"config.json": "{}", EVENTS: "one\n"})
    one = Uploader(folder, place, say=said.append)
    with s3_server.refusing():
        assert one.upload() == one.upload() == ["config.json", EVENTS]
    assert len(said) == 1
    assert "does not accept what is written" in said[0]
    assert one.upload() == []
    assert in_bucket(place) == {"config.json": "{}", EVENTS: "one\n"}


def test_uploader_waits_at_its_end_and_names_what_the_bucket_lacks(s3_server, folder):
    said = []
    put(folder, {"config.json": "{}"})
    one = Uploader(folder, storage_path_of(folder), say=said.append)
    with s3_server.refusing():
        assert one.close(retry_seconds=0.2, pause_seconds=0.05) == ["config.json"]
    assert said[-1].endswith("does not accept 1 files: waiting up to 0 seconds")
    assert one.close() == []


def test_uploader_uploads_from_its_thread(folder):
    one = Uploader(folder, storage_path_of(folder))
    one.start(interval_seconds=0.01)
    put(folder, {EVENTS: "one\n"})
    for _ in range(500):
        if in_bucket(storage_path_of(folder)):
            break
    one.stop()
    assert in_bucket(storage_path_of(folder)) == {EVENTS: "one\n"}
