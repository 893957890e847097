"""Checkpoints in a bucket: how a lane saves them and how the driver keeps track; on a real server."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

from search.cluster.group.lane import Lane
from search.cluster.group.messages import LaneReport, LegConfig
from search.coordination.checkpoints import METRICS_FILE, STATE_FILE, Checkpoints
from search.record.epochs import EpochMetrics
from search.storage.folder_remover import FolderRemover
from search.storage.storage_path import RETRY_SECONDS, StoragePath, write_with_retries
from tests.support.s3_server import location


class OneRank:
    """A worker group that writes as a worker does."""

    def save(self, file: StoragePath, *, timeout_seconds: float) -> bool:
        assert timeout_seconds > RETRY_SECONDS
        return write_with_retries(file, lambda target: target.write_bytes(b"state"))


def lane_of(ray: StoragePath) -> Lane:
    """Return a lane in the middle of a leg, without Tune around it."""
    lane = Lane.__new__(Lane)
    index = SimpleNamespace(_update_checkpoint_index=lambda metrics: None, checkpoint_dir_name="checkpoint_000000")
    leg = LegConfig(number=0, sample={}, folder="t000-1", checkpoint=None, best_dice=0.0)
    report = LaneReport(metrics=EpochMetrics(epoch=1, val_dice=0.5), finished=False)
    vars(lane).update(_storage=index, _group_config=SimpleNamespace(checkpoints=ray), _group=OneRank(), _last=report)
    vars(lane).update(_leg=leg, _history=[EpochMetrics(epoch=1)], _halt=None, _slowest_seconds=None, _last_result={})
    return lane


def test_lane_saves_alike_in_a_folder_and_a_bucket(place):
    saved = lane_of(place / "ray").save().checkpoint
    assert saved.path == f"{place.path}/ray/t000-1/checkpoint_000000"
    folder = StoragePath(saved.filesystem, saved.path)
    assert (folder / STATE_FILE).read_bytes() == b"state"
    assert (folder / METRICS_FILE).read_json() == {"epoch": 1, "val_dice": 0.5, "history": [{"epoch": 1}]}
    assert Checkpoints(place / "ray").last_epoch(0) == 1


def test_lane_continues_without_a_checkpoint_that_its_bucket_refuses(s3_server, bucket, monkeypatch, caplog):
    monkeypatch.setattr(StoragePath.with_retries, "__kwdefaults__", {"retry_seconds": 0.0, "pause_seconds": 0.0})
    lane = lane_of(location(bucket) / "ray")
    with s3_server.refusing():
        assert lane.save().checkpoint is None
    assert "was not written" in caplog.text
    assert lane.save().checkpoint is not None
    assert lane._last is not None
    lane._last = replace(lane._last, raised=True)
    assert lane.save().checkpoint is None


def test_checkpoints_in_a_bucket_cost_few_requests(s3_server, bucket):
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
        checkpoints.saved(0, folder.path, EpochMetrics.from_json(epoch))
        counts.append(len(s3_server.requests))
    assert counts == [0, 5, 0, 5], "the driver removes one checkpoint an epoch at most, and looks at none"
    write(epochs[-1], STATE_FILE, METRICS_FILE)  # its lane was lost before it could say so
    write({"epoch": 6}, STATE_FILE)  # and had written half of one
    s3_server.requests.clear()
    checkpoints.tidy(0, keep_newest=True)
    assert [request.split()[0] for request in s3_server.requests].count("GET") == 2 + 2  # the leg, a file; 2 removals
    again = Checkpoints(ray)
    for known in (checkpoints, again):
        assert str(known.best(0)).endswith("t000-1/checkpoint_000001/checkpoint.pt")
        assert str(known.newest(0)).endswith("t000-1/checkpoint_000004/checkpoint.pt")
        assert known.last_epoch(0) == 5
    best = checkpoints.best(0)
    assert best is not None
    assert checkpoints.relative(best) == "ray/t000-1/checkpoint_000001/checkpoint.pt"
    s3_server.requests.clear()
    assert [Checkpoints(ray).last_epoch(number) for number in (0,)] == [5]
    assert len(s3_server.requests) == 1 + 2 * 2, "a search that goes on lists all trials in one"
    assert again.next_leg(0) == "t000-2"
    checkpoints.drop(0)
    assert not [info for info in ray.list_folder(recursive=True) if info.is_file]
    assert Checkpoints(ray).next_leg(0) == "t000-3", "the folders of legs count them"


def test_checkpoints_rely_on_what_lanes_reported_while_the_bucket_is_out(s3_server, bucket):
    checkpoints = Checkpoints(location(bucket) / "mine/ray")
    name = checkpoints.next_leg(0)
    folder = location(bucket) / "mine/ray" / name / "checkpoint_000000"
    with s3_server.refusing():
        checkpoints.saved(0, folder.path, EpochMetrics(epoch=1, val_dice=0.5))
        checkpoints.tidy(0, keep_newest=True)
        assert str(checkpoints.newest(0)) == f"{folder.path}/{STATE_FILE}"
        assert checkpoints.next_leg(0) == "t000-2"


def test_upload_that_breaks_off_is_tried_again(s3_server, bucket):
    ray = location(bucket) / "ray"
    s3_server.num_torn = 1
    assert lane_of(ray).save().checkpoint is not None
    assert s3_server.num_torn == 0
    assert (ray / "t000-1/checkpoint_000000" / STATE_FILE).read_bytes() == b"state"


def test_driver_does_not_wait_for_a_slow_bucket_to_remove_checkpoints(s3_server, bucket):
    ray, remover = location(bucket) / "mine/ray", FolderRemover()
    checkpoints = Checkpoints(ray, remove=remover.remove)
    name = checkpoints.next_leg(0)
    for epoch in (1, 2, 3):
        (ray / name / f"checkpoint_{epoch:06d}" / STATE_FILE).write_bytes(b"state")
    s3_server.delay_seconds = 0.3
    try:
        started = time.monotonic()
        for epoch in (1, 2, 3):
            folder = ray / name / f"checkpoint_{epoch:06d}"
            checkpoints.saved(0, folder.path, EpochMetrics(epoch=epoch, val_dice=epoch / 10))
        assert time.monotonic() < started + 0.3
    finally:
        s3_server.delay_seconds = 0.0
    remover.end()
    assert [info.base_name for info in (ray / name).list_folder()] == ["checkpoint_000003"]
