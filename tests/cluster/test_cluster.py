"""`ray up cluster.yaml` on hosts of this machine, and searches there that lose hosts, cables and drivers."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from functools import partial

import pytest

from search.record.trials import INTERRUPTED, State
from tests.cluster.cluster import FILE, Cluster, cluster, offer, wait_until
from tests.cluster.hosts import ROOT, require_hosts
from tests.cluster.searches import (
    DRIVER,
    ENDLESS,
    LARGE,
    PATIENCE_SECONDS,
    SEARCH,
    SMALL,
    after_loss,
    at_head,
    check_goes_on,
    check_plain,
    check_promoted,
    check_resumed,
    dashboard,
    driver_host,
    epochs,
    events,
    folder,
    losses,
    nodes_of,
    ray_job,
    rows,
    said_file,
    search,
    signal_driver,
    submit,
    trained,
    wait_for_end,
    wait_for_job,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def running(request) -> Iterator[Cluster]:
    """A cluster of a head and two workers, with two more machines that the cloud does not have yet."""
    require_hosts(request)
    with cluster(num_workers=2, num_spare=2) as started:
        yield started
        check_ray_down(started)


@pytest.mark.timeout(1800)
def test_searches_outlive_a_terminal_a_host_a_cable_and_a_driver(running):
    """One story, because a cluster takes minutes to start, and each step needs what the one before has left."""
    check_nodes(running)
    share_the_cluster(running)
    lose_a_host_and_get_others(running)
    resume_and_stop(running)
    fetch_results(running)


def check_nodes(running: Cluster) -> None:
    """Check that `ray up` has started a head without cores and the workers that the file names."""
    found = running.cpus_by_address()
    assert found == {running.head.address: 0} | {worker.address: 1 for worker in running.workers[:2]}


def share_the_cluster(running: Cluster) -> None:
    """Run two searches side by side, one of which loses its terminal; slices are sent once to each host."""
    hosts = running.workers[:2]
    before = [host.received_bytes for host in hosts]
    with search(running, "large", LARGE) as (process, wait_for):
        wait_for(lambda: "Search large" in said_file(running, "large").read_text(), "its plan")

        # A second user finds no room and waits. Then she closes her terminal.
        follow = f"ray job submit --submission-id spot {DRIVER} -- {SEARCH} --name spot {SMALL} --trials 8 {ENDLESS}"
        with at_head(running, follow, "spot") as (terminal, wait_there):
            wait_for(lambda: nodes_of(running, "Lane") == [host.address for host in hosts], "a lane on each host")
            wait_there(lambda: "Search spot" in said_file(running, "spot").read_text(), "what she sees of her search")
            running.hosts.desk.run("pkill -KILL -f '[r]ay exec.*spot|[s]sh.*spot'")
            terminal.wait(PATIENCE_SECONDS)
        wait_for(lambda: len(rows(running, "large")) == 8, "the end of all trials")
        received = [host.received_bytes - was for host, was in zip(hosts, before, strict=True)]
        wait_for_job(running, "spot", lambda: {0, 1} <= trained(events(running, "spot")), "an epoch on each host")
        assert process.wait(PATIENCE_SECONDS) == 0, said_file(running, "large").read_text()
    assert nodes_of(running, "Lane") == [host.address for host in hosts]
    check_promoted(running, "large")
    ends = [(row.number, row.state, len(row.epochs)) for row in rows(running, "large")]
    assert ends == [(number, State.COMPLETE, 1) for number in range(8)]
    sizes = json.loads((folder(running, "large") / "config.json").read_text())["data"]["num_slices"]
    pack_bytes = (sizes["train"] + sizes["val"]) * 128 * 128 * 4
    print(f"slices {pack_bytes / 1e6:.1f} MB, received {[f'{number / 1e6:.1f} MB' for number in received]}")
    # Besides the slices, processes exchange messages. With four trials per host it could be four times as much.
    assert all(pack_bytes < number < 2 * pack_bytes for number in received)


def lose_a_host_and_get_others(running: Cluster) -> None:
    """Kill a host of the second search, which continues and uses hosts that come late; kill its driver in the end."""

    def log() -> list[dict]:
        return events(running, "spot")

    wait_for = partial(wait_for_job, running, "spot")
    stays = driver_host(running, "spot")
    [goes] = [host for host in running.workers[:2] if host is not stays]

    # The cloud reclaims a spot machine.
    running.hosts.kill(goes)
    wait_for(lambda: losses(log()), "a loss")
    [lost] = losses(log())

    # Now the cloud has two others, and the search can use both.
    late = running.workers[2:]
    offer(running.hosts, *late)
    all_three = sorted(host.address for host in (stays, *late))
    wait_for(lambda: nodes_of(running, "Lane") == all_three, "a lane on each of the late hosts")
    wait_for(lambda: epochs(after_loss(log()), lost), "an epoch of the lost trial")
    check_goes_on(log(), lost)

    signal_driver(stays, signal.SIGKILL)
    wait_for_end(running, "spot", "FAILED")


def resume_and_stop(running: Cluster) -> None:
    """Resume what the killed driver has left, cut a host's cable, and stop the job: it still promotes a model."""
    before = events(running, "spot")
    submit(running, "again", "--resume spot --workers-per-trial 2")

    def log() -> list[dict]:
        return events(running, "spot")[len(before) :]

    wait_for = partial(wait_for_job, running, "again")
    wait_for(lambda: len(epochs(log())) >= 3, "the third epoch")
    check_resumed(before, log())
    assert driver_host(running, "again") is running.head
    assert nodes_of(running, "Lane") == [running.head.address], "a spot machine more that can be lost"
    places = nodes_of(running, "RayTrainWorker")
    assert len(set(places)) == 2
    running.hosts.cut_off(next(host for host in running.workers if host.address in places))
    wait_for(lambda: losses(log()), "a loss")
    [lost] = losses(log())
    wait_for(lambda: epochs(after_loss(log()), lost), "an epoch on other hosts")
    check_goes_on(log(), lost)

    said = ray_job(running, "stop", "again")
    assert "Job 'again' was stopped" in said.stdout
    said = wait_for_end(running, "again", "STOPPED")
    check_plain(said)
    check_promoted(running, "spot")
    assert {row.error for row in rows(running, "spot")} == {INTERRUPTED}


def fetch_results(running: Cluster) -> None:
    """Copy the first search's results to the desk, where they are complete."""
    said = running.ray("rsync-down", "/mnt/shared/runs/large /home/ray/runs/")
    assert said.returncode == 0, said.stdout
    for command in ("search.report large --out /home/ray/runs", "model.manifest /home/ray/runs/large/best"):
        said = running.at_desk(f"python -m {command}")
        assert said.returncode == 0, said.stdout


def check_ray_down(running: Cluster) -> None:
    """Check that `ray down` gives every machine back."""
    said = running.ray("down", "-y")
    assert said.returncode == 0, said.stdout
    wait_until(lambda: not any(host.is_alive for host in running.hosts.others), "the end of all machines", seconds=60)
    assert "ray" not in running.hosts.desk.run("ps -e -o comm=").stdout


def test_a_client_without_the_token_is_refused(running):
    status = f"ray status --address {running.head.address}:6379"
    assert running.at_desk(status).returncode == 0, "nobody is let in"
    for stranger in (f"RAY_AUTH_TOKEN={'0' * 64}", "RAY_AUTH_MODE=disabled"):
        said = running.at_desk(f"{stranger} {status}")
        assert said.returncode != 0
        assert "InvalidAuthToken" in said.stdout


def test_a_job_with_a_mistake_fails_with_its_message_and_strangers_submit_none(running):
    with dashboard(running) as address:
        said = running.at_desk(f"ray job submit --address {address} -- {SEARCH} --data nowhere")
        stranger = running.at_desk(f"RAY_AUTH_TOKEN={'0' * 64} ray job submit --address {address} -- true")
    assert said.returncode == 1
    assert "error: data source nowhere does not exist" in said.stdout
    assert "exit code 2" in said.stdout
    assert stranger.returncode != 0
    assert "submitted" not in stranger.stdout


def test_ray_attach_opens_a_shell_on_the_head_and_leaves_none_behind(running):
    keyboard, terminal = pty.openpty()
    command = f"cd {ROOT} && ray attach {FILE}"
    with running.hosts.desk.start(command, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal) as process:
        os.write(keyboard, b"echo I am at $(hostname); exit\n")
        text = process.stdout.read()
    assert f"I am at {running.head.name}" in text
    assert process.returncode == 0
    assert "bash" not in running.head.run("ps -e -o tty=,comm= | grep pts").stdout
