"""Channels between a lane and its workers: in order, by rank, and closed to strangers."""

import contextlib
import secrets
import threading
import time
from dataclasses import replace
from multiprocessing import AuthenticationError

import pytest

from search.cluster.group.channel import Address, Channel, WorkerListener, local_pair

HOST = "127.0.0.1"


def connect_all(address: Address, ranks: list[int]) -> dict[int, Channel]:
    """Return the workers' ends by rank, each connected from its own thread, one after another."""
    ends: dict[int, Channel] = {}

    def connect(rank: int) -> None:
        with contextlib.suppress(OSError, EOFError):  # refused: then it is missing from the ends
            ends[rank] = address.connect(rank)

    for rank in ranks:
        thread = threading.Thread(target=connect, args=[rank], daemon=True)
        thread.start()
        thread.join(0.2)
    return ends


def test_local_pair_delivers_both_ways_in_order():
    ours, theirs = local_pair()
    for message in (("start", 1), ("step",), None):
        ours.send(message)
    assert [theirs.recv() for _ in range(3)] == [("start", 1), ("step",), None]
    theirs.send("report")
    assert ours.recv() == "report"
    assert not ours.poll(0.0)


def test_local_poll_waits_and_loses_no_message():
    ours, theirs = local_pair()
    started = time.monotonic()
    assert not ours.poll(0.05)
    assert time.monotonic() - started >= 0.04
    theirs.send("first")
    theirs.send("second")
    assert ours.poll(0.0)
    assert ours.poll(0.0)
    assert [ours.recv(), ours.recv()] == ["first", "second"]


def test_local_recv_waits_for_another_thread():
    ours, theirs = local_pair()
    threading.Timer(0.05, theirs.send, ["late"]).start()
    assert ours.recv() == "late"


@pytest.mark.parametrize("arrival", [[0, 1, 2], [2, 0, 1]])
def test_listener_returns_channels_by_rank_in_whatever_order_they_come(arrival):
    listener = WorkerListener(HOST, 3)
    ends = connect_all(listener.address, arrival)
    channels = listener.wait(lambda: True, timeout_seconds=5)
    for rank, channel in enumerate(channels):
        channel.send(("step", rank))
        assert ends[rank].recv() == ("step", rank)
        ends[rank].send(rank * b"x")
        assert channel.poll(1.0)
        assert channel.recv() == rank * b"x"


def test_time_spent_waiting_for_resources_does_not_count():
    listener = WorkerListener(HOST, 1)
    answers = [True, False]
    with pytest.raises(ConnectionError, match="0 of 1 workers connected within 0 seconds"):
        listener.wait(lambda: True, timeout_seconds=0.1, is_queueing=lambda: answers.pop(0))
    assert answers == [], "it gave up while they had no place"


def test_channel_of_a_worker_that_died_ends():
    listener = WorkerListener(HOST, 1)
    [end] = connect_all(listener.address, [0]).values()
    [channel] = listener.wait(lambda: True, timeout_seconds=5)
    end.close()
    assert channel.poll(1.0)
    with pytest.raises(EOFError):
        channel.recv()


def test_listener_ignores_a_stranger_and_the_workers_still_connect():
    listener = WorkerListener(HOST, 2)
    stranger = replace(listener.address, key=secrets.token_bytes(32))
    with pytest.raises(AuthenticationError):
        stranger.connect(0)
    ends = connect_all(listener.address, [0, 1])
    channels = listener.wait(lambda: True, timeout_seconds=0.4)
    channels[1].send("for rank 1")
    assert ends[1].recv() == "for rank 1"


def test_listener_gives_up_soon_on_a_group_that_is_dead():
    listener = WorkerListener(HOST, 2)
    connect_all(listener.address, [1])
    started = time.monotonic()
    with pytest.raises(ConnectionError, match="1 of 2 workers connected within"):
        listener.wait(lambda: False, timeout_seconds=300)
    assert time.monotonic() - started < 2


def test_listener_gives_up_on_workers_that_never_come():
    with pytest.raises(ConnectionError, match="0 of 2 workers connected within"):
        WorkerListener(HOST, 2).wait(lambda: True, timeout_seconds=0.1)


def test_every_address_has_a_new_key():
    one, other = WorkerListener(HOST, 1).address, WorkerListener(HOST, 1).address
    assert one.key != other.key
    assert len(one.key) == 32
