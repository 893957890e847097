"""Where an experiment lies: what --out means, files in a folder and a bucket, who may write; by a real server."""

import json
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

from search.cluster.group.lane import Lane
from search.coordination.checkpoints import METRICS_FILE, STATE_FILE, Checkpoints
from search.storage.bucket import check_uri, open_bucket
from search.storage.lease import LEASE_FILE, LeaseLost, take_lease
from search.storage.storage_path import RETRY_SECONDS, StoragePath, local_path, write_with_retries
from search.storage.working_folder import bucket_uri, format_out, parse_out, storage_path_of
from tests.support.s3_server import location


@pytest.mark.parametrize("text", ["runs", "/mnt/shared/runs", "a:b", "s3:/one/slash"])
def test_read_out_takes_a_path_as_it_is(text):
    assert parse_out(text) == Path(text)
    assert bucket_uri(parse_out(text)) is None
    assert format_out(parse_out(text)) == text


def test_read_out_gives_a_bucket_a_working_folder_in_the_cache_that_knows_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = [parse_out(uri) for uri in ("s3://one/runs", "s3://one/other", "s3://two/runs", "gs://one/runs")]
    assert len(set(folders)) == 4
    assert all(tmp_path in folder.parents for folder in folders)
    assert parse_out("s3://one/runs/") == parse_out("s3://one/runs?region=eu-west-1") == folders[0]
    assert format_out(folders[1]) == "s3://one/other"


def test_check_uri_takes_the_endpoint_of_the_environment_along(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://somebody:secret@minio:9000")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert check_uri("s3://b/p") == "s3://b/p?endpoint_override=minio:9000&scheme=http&region=eu-west-1"
    assert check_uri("s3://b/p?region=x") == "s3://b/p?endpoint_override=minio:9000&scheme=http&region=x"
    assert check_uri("gs://b/p") == "gs://b/p"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://other")
    assert "endpoint_override=other&scheme=https" in check_uri("s3://b/p")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ftp://host/runs", "out begins with ftp://, but must be a folder or a bucket, such as s3://"),
        ("s3://me:word@bucket/runs", "holds a user or a password"),
        ("s3://bucket/runs?secret_key=word", "out has secret_key="),
        ("s3:///runs", "names no bucket"),
    ],
)
def test_read_out_refuses_what_is_no_bucket_or_no_secret_any_more(uri, words, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=words) as refused:
        parse_out(uri)
    assert "word@" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_open_bucket_says_what_to_do(s3_server, bucket):
    with pytest.raises(ValueError, match=r"there is no bucket 'nobodys': make it"):
        open_bucket(s3_server.uri("nobodys"))
    with pytest.raises(ValueError, match=r"legal after \? are region, endpoint_override and scheme"):
        open_bucket(f"{bucket}&nonsense=1")
    with s3_server.refusing(), pytest.raises(ValueError, match=r"access is denied: give this machine credentials"):
        open_bucket(bucket)
    assert open_bucket(bucket).is_bucket  # a refusal is not remembered


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path) -> StoragePath:
    if request.param == "folder":
        return local_path(tmp_path / "runs")
    return location(request.getfixturevalue("bucket"))


def test_location_is_the_same_in_a_folder_and_a_bucket(place):
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


def test_location_of_a_bucket_is_known_to_another_process_without_the_environment(bucket):
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


def test_write_patiently_outlasts_a_bucket_and_goes_on_without_it_but_not_without_a_folder(s3_server, bucket, tmp_path):
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


class OneRank:
    """A worker group that writes as a worker does."""

    def save(self, file: StoragePath, *, timeout_seconds: float) -> bool:
        assert timeout_seconds > RETRY_SECONDS
        return write_with_retries(file, lambda target: target.write_bytes(b"state"))


def lane_of(ray: StoragePath) -> Lane:
    """Return a lane in the middle of a leg, without Tune around it."""
    lane = Lane.__new__(Lane)
    index = SimpleNamespace(_update_checkpoint_index=lambda metrics: None, checkpoint_dir_name="checkpoint_000000")
    result = {"raised": False, "metrics": {"epoch": 1, "val_dice": 0.5}}
    vars(lane).update(_storage=index, _group_config=SimpleNamespace(checkpoints=ray), _group=OneRank(), _last=result)
    vars(lane).update(
        _leg={"leg": "t000-1"}, _history=[{"epoch": 1}], _halt=None, _slowest_seconds=None, _last_result={}
    )
    return lane


def test_lane_saves_the_same_way_in_a_folder_and_a_bucket(place):
    saved = lane_of(place / "ray").save().checkpoint
    assert saved.path == f"{place.path}/ray/t000-1/checkpoint_000000"
    folder = StoragePath(saved.filesystem, saved.path)
    assert (folder / STATE_FILE).read_bytes() == b"state"
    assert (folder / METRICS_FILE).read_json() == {"epoch": 1, "val_dice": 0.5, "history": [{"epoch": 1}]}
    assert Checkpoints(place / "ray").last_epoch(0) == 1


def test_lane_goes_on_without_a_checkpoint_that_its_bucket_does_not_take(s3_server, bucket, monkeypatch, caplog):
    monkeypatch.setattr(StoragePath.with_retries, "__kwdefaults__", {"retry_seconds": 0.0, "pause_seconds": 0.0})
    lane = lane_of(location(bucket) / "ray")
    with s3_server.refusing():
        assert lane.save().checkpoint is None
    assert "was not written" in caplog.text
    assert lane.save().checkpoint is not None
    lane._last["raised"] = True
    assert lane.save().checkpoint is None


def test_checkpoints_in_a_bucket_are_those_of_a_folder_for_few_requests(s3_server, bucket):
    ray = location(bucket) / "mine/ray"
    checkpoints = Checkpoints(ray)
    leg = ray / checkpoints.next_leg(0)
    epochs = [{"epoch": epoch, "val_dice": dice} for epoch, dice in enumerate([0.5, 0.9, 0.4, 0.3, 0.2], start=1)]

    def write(epoch: dict, *files: str) -> StoragePath:
        folder = leg / f"checkpoint_{epoch['epoch'] - 1:06d}"
        for file in files:
            (folder / file).write_bytes(json.dumps(epoch | {"history": []}).encode())
        return folder

    counts = []
    for epoch in epochs[:-1]:
        folder = write(epoch, STATE_FILE, METRICS_FILE)
        s3_server.requests.clear()
        checkpoints.saved(0, folder.path, epoch)
        counts.append(len(s3_server.requests))
    assert counts == [0, 5, 0, 5], "the driver removes one checkpoint an epoch at most, and looks at none"
    write(epochs[-1], STATE_FILE, METRICS_FILE)  # its lane was lost before it could say so
    write({"epoch": 6}, STATE_FILE)  # and had written half of one
    s3_server.requests.clear()
    checkpoints.tidy(0, goes_on=True)
    assert [request.split()[0] for request in s3_server.requests].count("GET") == 2 + 2  # the leg, a file; 2 removals
    again = Checkpoints(ray)
    for known in (checkpoints, again):
        assert str(known.best(0)).endswith("t000-1/checkpoint_000001/checkpoint.pt")
        assert str(known.newest(0)).endswith("t000-1/checkpoint_000004/checkpoint.pt")
        assert known.last_epoch(0) == 5
    assert checkpoints.relative(checkpoints.best(0)) == "ray/t000-1/checkpoint_000001/checkpoint.pt"
    s3_server.requests.clear()
    assert [Checkpoints(ray).last_epoch(number) for number in (0,)] == [5]
    assert len(s3_server.requests) == 1 + 2 * 2, "a search that goes on lists all trials in one"
    assert again.next_leg(0) == "t000-2"
    checkpoints.drop(0)
    assert not [info for info in ray.list_folder(recursive=True) if info.is_file]
    assert Checkpoints(ray).next_leg(0) == "t000-3", "the folders of legs count them"


def test_checkpoints_go_on_with_what_lanes_said_while_the_bucket_is_out(s3_server, bucket):
    checkpoints = Checkpoints(location(bucket) / "mine/ray")
    name = checkpoints.next_leg(0)
    folder = location(bucket) / "mine/ray" / name / "checkpoint_000000"
    with s3_server.refusing():
        checkpoints.saved(0, folder.path, {"epoch": 1, "val_dice": 0.5})
        checkpoints.tidy(0, goes_on=True)
        assert str(checkpoints.newest(0)) == f"{folder.path}/{STATE_FILE}"
        assert checkpoints.next_leg(0) == "t000-2"


def holder(place: StoragePath) -> dict:
    return (place / LEASE_FILE).read_json()


def test_lease_is_refused_with_who_and_since_when_while_its_holder_lives(bucket):
    place = location(bucket) / "mine"
    lease = take_lease(place, "mine", settle_seconds=0.0)
    with pytest.raises(ValueError, match=rf"mine is being written by process {os.getpid()} of \S+ since 20\S+: wait"):
        take_lease(place, "mine", settle_seconds=0.0)
    lease.release()
    assert holder(place)["released"]
    second = take_lease(place, "mine", settle_seconds=0.0)
    assert second.last_session == lease.holder.session


def change(place: StoragePath, **values) -> None:
    (place / LEASE_FILE).write_bytes(json.dumps(holder(place) | values).encode())


def test_lease_of_a_dead_process_of_this_machine_is_taken_over_at_once(bucket):
    place = location(bucket) / "mine"
    take_lease(place, "mine", settle_seconds=0.0)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    change(place, pid=process.pid)
    take_lease(place, "mine", settle_seconds=0.0)
    change(place, start="of a process before, of the same number")
    take_lease(place, "mine", settle_seconds=0.0)


def test_lease_of_another_machine_is_taken_over_when_it_was_silent_for_long(bucket, capsys):
    place = location(bucket) / "mine"
    take_lease(place, "mine", settle_seconds=0.0)
    change(place, machine="another", host="there", pid=1)
    started = time.monotonic()
    # more than one second: the bucket's clock counts whole ones
    take_lease(place, "mine", settle_seconds=0.0, poll_seconds=0.02, stale_seconds=2.0)
    assert "mine is held by process 1 of there since" in capsys.readouterr().err
    assert time.monotonic() - started < 6


def test_lease_of_another_machine_is_refused_once_it_is_renewed(bucket):
    place = location(bucket) / "mine"
    take_lease(place, "mine", settle_seconds=0.0)
    change(place, machine="another", host="there", pid=1)

    def renew() -> None:
        time.sleep(1.1)  # a bucket's clock counts seconds
        change(place)

    thread = threading.Thread(target=renew)
    thread.start()
    with pytest.raises(ValueError, match=r"mine is being written by process 1 of there since .*: wait for its end"):
        take_lease(place, "mine", settle_seconds=0.0, poll_seconds=0.02, stale_seconds=30.0)
    thread.join()


def test_lease_that_was_taken_over_is_noticed_and_left_alone(bucket):
    place = location(bucket) / "mine"
    first = take_lease(place, "mine", settle_seconds=0.0)
    lost = []
    first.renew()
    change(place, session="of somebody else", host="there")
    with pytest.raises(LeaseLost, match="there"):
        first.renew()
    first.keep(lost.append, renew_seconds=0.01)
    first._thread.join(5.0)
    assert len(lost) == 1
    first.release()
    assert holder(place)["session"] == "of somebody else"
    assert not holder(place)["released"]


def test_lease_of_two_at_the_same_moment_is_the_later_writers(bucket):
    place = location(bucket) / "mine"

    taken, refused = [], []

    def take() -> None:
        try:
            taken.append(take_lease(place, "mine", settle_seconds=0.3))
        except ValueError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(refused) == 1
    assert holder(place)["session"] == taken[0].holder.session
    assert "is being written by" in refused[0] or "was taken at the same moment by" in refused[0]


def test_location_of_an_experiment_is_in_its_bucket(bucket):
    out = parse_out(bucket)
    assert storage_path_of(out).path == location(bucket).path
    assert storage_path_of(out / "mine").path == f"{location(bucket).path}/mine"
    assert not storage_path_of(Path("runs") / "mine").is_bucket
