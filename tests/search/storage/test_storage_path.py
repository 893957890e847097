"""Files in a folder and in a bucket, by the same code; on a real server."""

import os
import pickle
import subprocess
import sys

import pytest
from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

from search.storage.storage_path import StoragePath, local_path, write_with_retries
from tests.support.s3_server import location


def test_storage_path_works_alike_in_a_folder_and_a_bucket(place):
    file = place / "a/b.json"
    assert place.list_folder() == place.list_folder(recursive=True) == []
    assert file.read_json() is None
    file.remove()
    (place / "a").remove_folder()
    file.write_bytes(b'{"one": 1')
    assert file.read_json() is None
    with file.open_to_write() as target:
        target.write(b'{"one": ')
        target.write(b"1}")
    assert (file.read_bytes(), file.read_json()) == (b'{"one": 1}', {"one": 1})
    assert [place.relative_name(info) for info in place.list_folder(recursive=True) if info.is_file] == ["a/b.json"]
    sent = pickle.loads(pickle.dumps(file))
    assert sent.read_json() == {"one": 1}
    (place / "a").remove_folder()
    with pytest.raises(FileNotFoundError):
        file.read_bytes()


def test_storage_path_works_in_another_process_without_the_environment(bucket):
    file = location(bucket) / "here"
    file.write_bytes(b"it is")
    program = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read_bytes().decode())"
    secrets = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), **secrets}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, input=pickle.dumps(file), capture_output=True, env=environment, check=True)
    assert ended.stdout == b"it is\n"
    assert os.environ["AWS_SECRET_ACCESS_KEY"].encode() not in pickle.dumps(file)


def impatient(s3_server, uri: str) -> StoragePath:
    """Return a location whose client tries once: pyarrow's takes 6 seconds to see that nobody is there."""
    filesystem = S3FileSystem(
        endpoint_override=s3_server.endpoint,
        scheme="http",
        region="us-east-1",
        allow_delayed_open=True,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=1),
    )
    return StoragePath(filesystem, location(uri).path)


def test_write_with_retries_outlasts_a_bucket_but_not_a_broken_folder(s3_server, bucket, tmp_path):
    file = impatient(s3_server, bucket) / "state"
    tries = []

    def write(target: StoragePath) -> None:
        tries.append(1)
        if len(tries) == 3:
            s3_server.refusal = None
        target.write_bytes(b"whole")

    with s3_server.refusing("503 Slow Down"):
        file.with_retries(write, pause_seconds=0.0)
    assert (len(tries), file.read_bytes()) == (3, b"whole")
    assert write_with_retries(file, lambda target: target.write_bytes(b"new"))
    (tmp_path / "in the way").write_text("")
    with pytest.raises(OSError, match="in the way"):
        write_with_retries(local_path(tmp_path) / "in the way/state", lambda target: target.write_bytes(b"x"))
