"""What `--out` means: a folder, or a bucket with a working folder in the user's cache."""

import subprocess
from pathlib import Path

import pytest

from data.errors import UserError
from search.storage.working_folder import bucket_uri, format_command, format_out, parse_out, storage_path_of
from tests.support.s3_server import location


@pytest.mark.parametrize("text", ["runs", "/mnt/shared/runs", "a:b", "s3:/one/slash"])
def test_parse_out_keeps_a_path(text):
    assert parse_out(text) == Path(text)
    assert bucket_uri(parse_out(text)) is None
    assert format_out(parse_out(text)) == text


def test_parse_out_gives_each_bucket_a_working_folder_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = [parse_out(uri) for uri in ("s3://one/runs", "s3://one/other", "s3://two/runs", "gs://one/runs")]
    assert len(set(folders)) == 4
    assert all(tmp_path in folder.parents for folder in folders)
    assert parse_out("s3://one/runs/") == parse_out("s3://one/runs?region=eu-west-1") == folders[0]
    assert format_out(folders[1]) == "s3://one/other"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ftp://host/runs", "out begins with ftp://, but must be a folder or a bucket, such as s3://"),
        ("s3://me:word@bucket/runs", "has a user or a password"),
        ("s3://bucket/runs?secret_key=word", "out has secret_key="),
        ("s3:///runs", "names no bucket"),
    ],
)
def test_parse_out_refuses_other_uris_and_those_with_credentials(uri, words, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=words) as refused:
        parse_out(uri)
    assert "word@" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_storage_path_of_an_experiment_is_in_its_bucket(bucket):
    out = parse_out(bucket)
    assert storage_path_of(out).path == location(bucket).path
    assert storage_path_of(out / "mine").path == f"{location(bucket).path}/mine"
    assert not storage_path_of(Path("runs") / "mine").is_bucket


def test_format_command_can_be_pasted_whatever_the_folders_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "\u00fcber mein 'Ordner'; $HOME"
    resumption = format_command("search.tune", out / "lgg", "--data", "NEWPATH")
    printed = subprocess.run(["sh", "-c", f"printf '%s\\n' {resumption}"], capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == [
        *("python", "-m", "search.tune", "--resume", "lgg", "--data", "NEWPATH", "--out", str(out))
    ]
    assert format_command("search.promote", tmp_path / "runs" / "lgg") == "python -m search.promote lgg"
    assert format_command("search.promote", Path("runs/lgg")) == "python -m search.promote lgg"
