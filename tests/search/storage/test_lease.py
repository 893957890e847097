"""The lease of an experiment in a bucket: who may take it, and when; on a real server."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from data.errors import UserError
from search.storage.lease import LEASE_FILE, LeaseLost, take_lease
from search.storage.storage_path import StoragePath
from tests.support.s3_server import location
from tests.support.waiting import wait_until


def holder(place: StoragePath) -> dict:
    return (place / LEASE_FILE).read_json()


def change(place: StoragePath, **values) -> None:
    (place / LEASE_FILE).write_bytes(json.dumps(holder(place) | values).encode())


def test_lease_is_refused_while_its_holder_lives_and_the_message_names_it(bucket):
    place = location(bucket) / "mine"
    lease = take_lease(place, "mine", settle_seconds=0.0)
    with pytest.raises(UserError, match=rf"mine is being written by process {os.getpid()} of \S+ since 20\S+: wait"):
        take_lease(place, "mine", settle_seconds=0.0)
    lease.release()
    assert holder(place)["released"]
    second = take_lease(place, "mine", settle_seconds=0.0)
    assert second.last_session == lease.holder.session


def test_lease_of_a_dead_process_on_this_machine_is_taken_over_at_once(bucket):
    place = location(bucket) / "mine"
    take_lease(place, "mine", settle_seconds=0.0)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    change(place, pid=process.pid)
    take_lease(place, "mine", settle_seconds=0.0)
    change(place, start="of a process before, of the same number")
    take_lease(place, "mine", settle_seconds=0.0)


def test_lease_of_another_machine_is_taken_over_after_a_long_silence(bucket, capsys):
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
    with pytest.raises(UserError, match=r"mine is being written by process 1 of there since .*: wait for its end"):
        take_lease(place, "mine", settle_seconds=0.0, poll_seconds=0.02, stale_seconds=30.0)
    thread.join()


def test_lease_that_was_taken_over_is_noticed_and_not_written_again(bucket):
    place = location(bucket) / "mine"
    first = take_lease(place, "mine", settle_seconds=0.0)
    lost = []
    first.renew()
    change(place, session="of somebody else", host="there")
    with pytest.raises(LeaseLost, match="there"):
        first.renew()
    first.keep(lost.append, renew_seconds=0.01)
    wait_until(lambda: lost)
    assert len(lost) == 1
    first.release()
    assert holder(place)["session"] == "of somebody else"
    assert not holder(place)["released"]


def test_lease_goes_to_the_later_of_two_simultaneous_writers(bucket):
    place = location(bucket) / "mine"

    taken, refused = [], []

    def take() -> None:
        try:
            taken.append(take_lease(place, "mine", settle_seconds=0.3))
        except UserError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(refused) == 1
    assert holder(place)["session"] == taken[0].holder.session
    assert "is being written by" in refused[0] or "was taken at the same moment by" in refused[0]
