"""One process at a time writes to an experiment, and commands read and write a bucket; on a real server."""

import json
import time

import pytest

from data.errors import UserError
from search import list as list_command
from search.compare import __main__ as compare
from search.config import SearchConfig
from search.experiment import check_folder, exclusive_writer, recorded_config
from search.report import __main__ as report_command
from search.storage import download, writer
from search.storage.lease import LEASE_FILE
from search.storage.lock import is_being_written
from search.storage.working_folder import parse_out, storage_path_of
from search.tracking.outage import how_to_send
from tests.support.bucket_files import EVENTS, in_bucket, put, working_folder_elsewhere, written
from tests.support.fakes import lanes_json, metrics_json, trial_row, write_experiment
from tests.support.s3_server import location


def test_exclusive_writer_uploads_everything_and_releases_the_lease(folder):
    written(folder, **{EVENTS: "one\n"})
    found = in_bucket(storage_path_of(folder))
    assert (found[EVENTS], json.loads(found[LEASE_FILE])["released"]) == ("one\n", True)
    assert not is_being_written(folder)


def test_exclusive_writer_keeps_other_machines_out_of_the_bucket(folder, monkeypatch, tmp_path):
    with exclusive_writer(folder):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
        other = parse_out((folder.parent / "bucket.txt").read_text()) / "mine"
        other.mkdir()
        with pytest.raises(UserError, match="mine is being written by process"), exclusive_writer(other):
            pass
        download.sync_down(other)
        assert is_being_written(other), "search.list says so on any machine"
    with exclusive_writer(other):
        pass


def test_exclusive_writer_stops_when_another_machine_takes_over(folder, monkeypatch):
    monkeypatch.setattr(writer, "RENEW_SECONDS", 0.05)
    with exclusive_writer(folder), pytest.raises(KeyboardInterrupt):  # noqa: PT012
        lease = json.loads(in_bucket(storage_path_of(folder))[LEASE_FILE])
        put(folder, {EVENTS: "ours alone\n"})
        for _ in range(50):  # again and again, because a renewal under way may overwrite it
            theirs = json.dumps(lease | {"session": "x", "host": "there"})
            (storage_path_of(folder) / LEASE_FILE).write_bytes(theirs.encode())
            time.sleep(0.1)
    assert EVENTS not in in_bucket(storage_path_of(folder))


@pytest.mark.slow
def test_exclusive_writer_says_what_the_bucket_lacks_and_what_uploads_it(
    s3_server, folder, bucket, monkeypatch, capsys
):
    monkeypatch.setattr(writer, "FINAL_SECONDS", 0.0)
    with exclusive_writer(folder):
        put(folder, {EVENTS: "one\n"})
        s3_server.refusal = "503 Slow Down"
    s3_server.refusal = None
    said = capsys.readouterr().err
    assert f"note: the bucket lacks these files of {folder}: {EVENTS}. " in said
    assert f"python -m search.report mine --out '{bucket}' uploads them" in said
    place = storage_path_of(folder)
    lease = json.loads(in_bucket(place)[LEASE_FILE])
    (place / LEASE_FILE).write_bytes(json.dumps(lease | {"start": "of a process that has ended"}).encode())
    with exclusive_writer(folder):
        pass
    assert in_bucket(place)[EVENTS] == "one\n"


def test_check_folder_refuses_a_name_in_use_and_a_read_only_bucket(s3_server, folder, bucket, monkeypatch, tmp_path):
    written(folder)
    out = working_folder_elsewhere(folder, monkeypatch, tmp_path).parent
    with pytest.raises(UserError, match=r"runs/mine exists already: resume it with --resume mine"):
        check_folder(SearchConfig(out=out, name="mine"))
    check_folder(SearchConfig(out=out, name="yours"))
    assert set(info.base_name for info in location(bucket).list_folder()) == {"mine"}
    with s3_server.refusing(), pytest.raises(UserError, match=r"access is denied: .* s3:PutObject"):
        check_folder(SearchConfig(out=out, name="yours"))


def test_commands_read_and_write_a_bucket(bucket, monkeypatch, tmp_path, capsys):
    out = parse_out(bucket)
    for name in ("one", "two"):
        with_model = metrics_json() if name == "one" else None
        write_experiment(
            out / name, [trial_row(0, [0.5]), trial_row(1, [0.7])], metrics=with_model, lanes=lanes_json(1)
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
