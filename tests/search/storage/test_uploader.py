"""A working folder and its bucket: what is sent, what comes down, which of the two is right; against a real server."""

import json
import shutil
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from search import fetch
from search import list as list_command
from search.compare import __main__ as compare
from search.config import SearchConfig
from search.experiment import check_folder, exclusive_writer, recorded_config
from search.report import __main__ as report_command
from search.storage import download, uploader, writer
from search.storage.lease import LEASE_FILE
from search.storage.lock import is_being_written
from search.storage.storage_path import StoragePath
from search.storage.uploader import Uploader
from search.storage.working_folder import parse_out, storage_path_of
from search.tracking.opening import how_to_send
from tests.support.fakes import metrics_record, trial_row, write_experiment
from tests.support.s3_server import location

EVENTS = "events.jsonl"


def put(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def in_bucket(place: StoragePath) -> dict[str, str]:
    files = [info for info in place.list_folder(recursive=True) if info.is_file]
    return {place.relative_name(info): (place / place.relative_name(info)).read_bytes().decode() for info in files}


def puts(requests: list[str]) -> list[str]:
    return [request.split("?")[0].partition("mine/")[2] for request in requests if request.startswith("PUT")]


@pytest.fixture
def folder(bucket) -> Path:
    """Returns the working folder of an experiment that nobody has written yet."""
    folder = parse_out(bucket) / "mine"
    folder.mkdir()
    return folder


def test_mirror_sends_what_changed_and_what_is_needed_most_first(s3_server, folder):
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
    mirror = Uploader(folder, place)
    s3_server.requests.clear()
    assert mirror.upload() == []
    assert in_bucket(place) == sent
    order = puts(s3_server.requests)
    assert order[:3] == ["config.json", EVENTS, "trials.jsonl"]
    assert order[-1] == "best/manifest.json"
    s3_server.requests.clear()
    assert mirror.upload() == []
    assert s3_server.requests == [], "nothing has changed"
    put(folder, {EVENTS: "one\ntwo\n"})
    shutil.rmtree(folder / "wandb")
    assert mirror.upload(everything=True) == []
    assert puts(s3_server.requests)[0] == EVENTS
    del sent["wandb/run/a.wandb"]
    assert in_bucket(place) == sent | {EVENTS: "one\ntwo\n"}
    s3_server.requests.clear()
    assert Uploader(folder, place).upload() == []
    assert s3_server.requests == [], "another mirror knows what was sent"


def test_mirror_leaves_what_others_put_there(folder):
    place = storage_path_of(folder)
    (place / "wandb/of another machine").write_bytes(b"x")
    put(folder, {"config.json": "{}"})
    Uploader(folder, place).upload()
    assert set(in_bucket(place)) == {"config.json", "wandb/of another machine"}


def test_mirror_sends_a_file_that_grows_no_more_often_than_its_size_allows(folder, monkeypatch):
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


def test_mirror_says_once_that_a_bucket_refuses_and_sends_it_later(s3_server, folder):
    place, said = storage_path_of(folder), []
    put(folder, {"config.json": "{}", EVENTS: "one\n"})
    one = Uploader(folder, place, say=said.append)
    with s3_server.refusing():
        assert one.upload() == one.upload() == ["config.json", EVENTS]
    assert len(said) == 1
    assert "does not accept what is written" in said[0]
    assert one.upload() == []
    assert in_bucket(place) == {"config.json": "{}", EVENTS: "one\n"}


def test_mirror_at_its_end_waits_for_a_bucket_a_while_and_says_what_it_lacks(s3_server, folder):
    said = []
    put(folder, {"config.json": "{}"})
    one = Uploader(folder, storage_path_of(folder), say=said.append)
    with s3_server.refusing():
        assert one.close(retry_seconds=0.2, pause_seconds=0.05) == ["config.json"]
    assert said[-1].endswith("does not accept 1 files: waiting up to 0 seconds")
    assert one.close() == []


def test_mirror_in_its_thread_sends_what_is_written(folder):
    one = Uploader(folder, storage_path_of(folder))
    one.start(interval_seconds=0.01)
    put(folder, {EVENTS: "one\n"})
    for _ in range(500):
        if in_bucket(storage_path_of(folder)):
            break
    one.stop()
    assert in_bucket(storage_path_of(folder)) == {EVENTS: "one\n"}


def written(folder: Path, *, started: str = "now", **files: str) -> None:
    put(folder, {"config.json": json.dumps({"started": started}), **files})
    with exclusive_writer(folder):
        pass


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(writer, "SETTLE_SECONDS", 0.0)


def test_only_writer_sends_everything_and_lets_go(folder):
    written(folder, **{EVENTS: "one\n"})
    found = in_bucket(storage_path_of(folder))
    assert (found[EVENTS], json.loads(found[LEASE_FILE])["released"]) == ("one\n", True)
    assert not is_being_written(folder)


def test_only_writer_holds_the_bucket_against_other_machines(folder, monkeypatch, tmp_path):
    with exclusive_writer(folder):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        other = parse_out((folder.parent / "bucket.txt").read_text()) / "mine"
        other.mkdir()
        with pytest.raises(ValueError, match="mine is being written by process"), exclusive_writer(other):
            pass
        download.sync_down(other)
        assert is_being_written(other), "search.list says so on any machine"
    with exclusive_writer(other):
        pass


def elsewhere(folder: Path, monkeypatch, tmp_path: Path) -> Path:
    """Return the working folder of the same experiment on another machine."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    return parse_out((folder.parent / "bucket.txt").read_text()) / "mine"


def only_writer_of(folder: Path) -> AbstractContextManager:
    """Hold an experiment of which this machine has nothing yet."""
    folder.mkdir(exist_ok=True)
    return exclusive_writer(folder)


def test_bring_gives_another_machine_all_there_is_but_checkpoints(folder, monkeypatch, tmp_path):
    written(folder, **{EVENTS: "one\n", "wandb/run/a": "a", "best/model.onnx": "m", "best/card.md": "c"})
    (storage_path_of(folder) / "ray/t000-1/checkpoint_000000/checkpoint.pt").write_bytes(b"state")
    other = elsewhere(folder, monkeypatch, tmp_path)
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


def test_bring_leaves_a_folder_that_went_on_from_the_bucket(folder):
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


def test_bring_takes_the_bucket_where_it_went_on_from_the_folder(folder, monkeypatch, tmp_path):
    written(folder, **{EVENTS: "one\n", "report.html": "old"})
    other = elsewhere(folder, monkeypatch, tmp_path)
    download.sync_down(other)
    written(other, **{EVENTS: "one\ntwo\n", "report.html": "new"})
    download.sync_down(folder)
    assert (folder / EVENTS).read_text() == "one\ntwo\n"
    assert (folder / "report.html").read_text() == "new"
    assert not (folder.parent / "set-aside").exists()


def test_bring_takes_what_another_machine_has_written_though_no_event_came(folder, monkeypatch, tmp_path):
    written(folder, **{EVENTS: "one\n", "best/card.md": "old"})
    other = elsewhere(folder, monkeypatch, tmp_path)
    with only_writer_of(other):
        put(other, {"best/card.md": "new card"})
    download.sync_down(folder)
    assert (folder / "best/card.md").read_text() == "new card"
    with exclusive_writer(folder):
        pass
    put(folder, {"best/card.md": "of a promotion that was killed before it could send"})
    download.sync_down(folder)
    assert (folder / "best/card.md").read_text().startswith("of a promotion")


@pytest.mark.parametrize("began", ["now", "another time"])
def test_bring_sets_aside_what_went_another_way(folder, monkeypatch, tmp_path, capsys, began):
    written(folder, **{EVENTS: "one\n"})
    other = elsewhere(folder, monkeypatch, tmp_path)
    download.sync_down(other)
    written(other, **{EVENTS: "one\ntwo\n"})
    put(folder, {EVENTS: "one\nthree\n", "config.json": json.dumps({"started": began})})
    download.sync_down(folder)
    assert (folder / EVENTS).read_text() == "one\ntwo\n"
    [aside] = (folder.parent / "set-aside").iterdir()
    assert (aside / EVENTS).read_text() == "one\nthree\n"
    assert str(aside) in capsys.readouterr().err


def test_bring_disturbs_nobody_who_writes_here(folder):
    written(folder, **{EVENTS: "one\n"})
    with exclusive_writer(folder):
        (storage_path_of(folder) / EVENTS).write_bytes(b"two\n")
        download.sync_down(folder)
        assert (folder / EVENTS).read_text() == "one\n"
        put(folder, {EVENTS: "one\ntwo\n"})
    assert in_bucket(storage_path_of(folder))[EVENTS] == "one\ntwo\n"


def test_only_writer_stops_where_another_machine_has_taken_over(folder, monkeypatch):
    monkeypatch.setattr(writer, "RENEW_SECONDS", 0.05)
    with exclusive_writer(folder), pytest.raises(KeyboardInterrupt):  # noqa: PT012
        lease = json.loads(in_bucket(storage_path_of(folder))[LEASE_FILE])
        (storage_path_of(folder) / LEASE_FILE).write_bytes(
            json.dumps(lease | {"session": "x", "host": "there"}).encode()
        )
        put(folder, {EVENTS: "ours alone\n"})
        time.sleep(5)
    assert EVENTS not in in_bucket(storage_path_of(folder))


def test_only_writer_says_what_the_bucket_lacks_and_what_sends_it(s3_server, folder, bucket, monkeypatch, capsys):
    monkeypatch.setattr(writer, "FINAL_SECONDS", 0.0)
    with exclusive_writer(folder):
        put(folder, {EVENTS: "one\n"})
        s3_server.refusal = "503 Slow Down"
    s3_server.refusal = None
    said = capsys.readouterr().err
    assert f"note: not in the bucket, but in {folder}: {EVENTS}. " in said
    assert f"python -m search.report mine --out '{bucket}' uploads it" in said
    place = storage_path_of(folder)
    lease = json.loads(in_bucket(place)[LEASE_FILE])
    (place / LEASE_FILE).write_bytes(json.dumps(lease | {"start": "of a process that has ended"}).encode())
    with exclusive_writer(folder):
        pass
    assert in_bucket(place)[EVENTS] == "one\n"


def test_check_folder_refuses_a_name_that_the_bucket_has_and_a_bucket_that_cannot_be_written(
    s3_server, folder, bucket, monkeypatch, tmp_path
):
    written(folder)
    out = elsewhere(folder, monkeypatch, tmp_path).parent
    with pytest.raises(ValueError, match=r"runs/mine exists already: go on with it by --resume mine"):
        check_folder(SearchConfig(out=out, name="mine"))
    check_folder(SearchConfig(out=out, name="yours"))
    assert set(info.base_name for info in location(bucket).list_folder()) == {"mine"}
    with s3_server.refusing(), pytest.raises(ValueError, match=r"access is denied: .* s3:PutObject"):
        check_folder(SearchConfig(out=out, name="yours"))


def test_commands_read_and_write_a_bucket(bucket, monkeypatch, tmp_path, capsys):
    out = parse_out(bucket)
    for name in ("one", "two"):
        with_model = metrics_record() if name == "one" else None
        write_experiment(
            out / name, [trial_row(0, [0.5]), trial_row(1, [0.7])], metrics=with_model, lanes={"num_lanes": 1}
        )
        with exclusive_writer(out / name):
            pass
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    assert list_command.main(["--out", bucket]) == 0
    assert "0.8125" in capsys.readouterr().out
    assert report_command.main(["one", "--out", bucket]) == 0
    assert compare.main(["one", "two", "--out", bucket]) == 0
    assert {"one/report.html", "compare-one-two.html"} <= set(in_bucket(location(bucket)))
    assert recorded_config(parse_out(bucket) / "one").folder == parse_out(bucket) / "one"
    assert f"python -m search.sync one --out '{bucket}'" in how_to_send(parse_out(bucket) / "one")
    assert list_command.main(["--out", "s3://nobodys?endpoint_override=127.0.0.1:9&scheme=ftp"]) == 2
    assert "error: --out" in capsys.readouterr().err


def test_fetch_brings_what_is_new_and_completes_what_was_cut_off(folder, tmp_path, capsys, bucket):
    write_experiment(folder, [trial_row(0, [0.5])])
    written(folder, **{EVENTS: "one\n", "config.json": (folder / "config.json").read_text()})
    state = "ray/t000-1/checkpoint_000000/checkpoint.pt"
    (storage_path_of(folder) / state).write_bytes(b"state")
    to = tmp_path / "there"
    arguments = ["mine", "--out", bucket, "--to", str(to)]
    assert fetch.main(arguments) == 0
    assert "3 files copied" in capsys.readouterr().out
    assert sorted(path.name for path in (to / "mine").iterdir()) == ["config.json", EVENTS, "trials.jsonl"]
    put(folder, {EVENTS: "one\ntwo\n"})
    with exclusive_writer(folder):
        pass
    (to / "mine/trials.jsonl").unlink()
    assert fetch.main([*arguments, "--checkpoints"]) == 0
    assert "3 files copied" in capsys.readouterr().out
    assert (to / "mine" / state).read_bytes() == b"state"
    assert (to / "mine" / EVENTS).read_text() == "one\ntwo\n"
    assert recorded_config(to / "mine").out == to
    again = ["mine", "--out", str(to), "--to", str(tmp_path / "again"), "--checkpoints"]
    assert fetch.main(again) == 0
    assert (tmp_path / "again/mine" / state).read_bytes() == b"state"


def test_fetch_loses_nothing_and_says_why(folder, tmp_path, capsys, bucket):
    write_experiment(folder, [])
    written(folder, **{EVENTS: "one\n"})
    put(tmp_path / "to/mine", {EVENTS: "one\nmore\n"})
    for arguments, words in (
        (["yours", "--out", bucket, "--to", "x"], "there is no experiment 'yours' in s3://"),
        (["mine", "--out", bucket, "--to", str(tmp_path / "to")], "has gone on since it was fetched"),
        (["mine", "--out", bucket, "--to", str(folder.parent)], "give another --to"),
        (["mine", "--out", str(tmp_path / "to"), "--to", str(tmp_path / "to")], "there is no experiment 'mine'"),
    ):
        assert fetch.main(arguments) == 2
        assert words in capsys.readouterr().err
    assert (tmp_path / "to/mine" / EVENTS).read_text() == "one\nmore\n"
