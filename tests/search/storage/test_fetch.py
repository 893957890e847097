"""`search.fetch`: copy an experiment from a bucket or a folder, and lose nothing; on a real server."""

from search import fetch
from search.experiment import exclusive_writer, recorded_config
from search.storage.working_folder import storage_path_of
from tests.support.bucket_files import EVENTS, put, written
from tests.support.fakes import trial_row, write_experiment


def test_fetch_copies_what_is_new_and_completes_what_was_cut_off(folder, tmp_path, capsys, bucket):
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


def test_fetch_refuses_to_overwrite_newer_files_and_says_why(folder, tmp_path, capsys, bucket):
    write_experiment(folder, [])
    written(folder, **{EVENTS: "one\n"})
    put(tmp_path / "to/mine", {EVENTS: "one\nmore\n"})
    for arguments, words in (
        (["yours", "--out", bucket, "--to", "x"], "there is no experiment 'yours' in s3://"),
        (["mine", "--out", bucket, "--to", str(tmp_path / "to")], "was resumed after it was fetched"),
        (["mine", "--out", bucket, "--to", str(folder.parent)], "give another --to"),
        (["mine", "--out", str(tmp_path / "to"), "--to", str(tmp_path / "to")], "there is no experiment 'mine'"),
    ):
        assert fetch.main(arguments) == 2
        assert words in capsys.readouterr().err
    assert (tmp_path / "to/mine" / EVENTS).read_text() == "one\nmore\n"


def test_fetch_from_a_bucket_that_refuses_says_what_to_do(s3_server, folder, tmp_path, capsys, bucket):
    write_experiment(folder, [])
    written(folder, **{EVENTS: "one\n"})
    with s3_server.refusing():
        assert fetch.main(["mine", "--out", bucket, "--to", str(tmp_path / "to")]) == 2
    assert "access is denied: give this machine credentials" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()
