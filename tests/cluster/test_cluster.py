"""`ray up cluster.yaml` on hosts of this machine, and searches there that lose hosts, cables and drivers.

The tests follow each other on one cluster, and what one has killed stays dead.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cluster import FILE, Cluster, cluster, wait_until
from hosts import ROOT, require_hosts

from search.jsonl import read_lines

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PATIENCE_SECONDS = 300
SEARCH = "python -m search.tune --data phantom:6 --size 64 --width 4 --tracking off --out /mnt/shared/runs"
ENDLESS = "--max-epochs 5000 --scheduler none"


@pytest.fixture(scope="module")
def running(request) -> Iterator[Cluster]:
    require_hosts(request)
    with cluster(num_workers=2, num_spare=2) as started:
        yield started


def folder(running: Cluster, name: str) -> Path:
    return running.hosts.shared / "runs" / name


def events(running: Cluster, name: str) -> list[dict]:
    file = folder(running, name) / "events.jsonl"
    return list(read_lines(file)) if file.exists() else []


def epochs(log: list[dict], number: int | None = None) -> list[int]:
    """Return the epochs that ended, of a trial or of all, in their order."""
    ended = [event for event in log if event["event"] == "epoch" and number in (None, event["number"])]
    return [event["metrics"]["epoch"] for event in ended]


def nodes_of(running: Cluster, actor: str) -> list[str]:
    """Return the addresses of the nodes on which actors of this kind live."""
    addresses = "{n['NodeID']: n['NodeManagerAddress'] for n in ray.nodes()}"
    actors = f"[a.node_id for a in state.list_actors(limit=1000) if a.class_name == '{actor}' and a.state == 'ALIVE']"
    by_id, found = running.ask(f"[{addresses}, {actors}]")
    return sorted(by_id[node] for node in found)


@contextmanager
def search(running: Cluster, name: str, options: str) -> Iterator[subprocess.Popen]:
    """Start a search as cluster.yaml says it, and let it go in the end."""
    command = f"cd tumour-search && RAY_ADDRESS=auto {SEARCH} --name {name} {options}"
    log = (running.hosts.shared / f"{name}.log").open("w")
    process = running.hosts.desk.start(
        f"cd {ROOT} && ray exec {FILE} '{command}'", stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
    )
    with log, process:
        try:
            yield process
        finally:
            process.kill()


def text_of(running: Cluster, name: str) -> str:
    return (running.hosts.shared / f"{name}.log").read_text()


def signal_driver(running: Cluster, number: signal.Signals) -> None:
    said = running.head.run(f"pkill -{number.name.removeprefix('SIG')} -f '^python -m search.tune'")
    assert said.returncode == 0, said.stdout


def check_promoted(running: Cluster, name: str) -> None:
    assert (folder(running, name) / "best" / "model.onnx").exists(), text_of(running, name)


def check_goes_on(log: list[dict], number: int) -> None:
    """Check that a trial did at most one epoch again after each of its losses."""
    [lost] = [at for at, event in enumerate(log) if event["event"] == "lost" and event["number"] == number]
    before, after = epochs(log[:lost], number), epochs(log[lost:], number)
    assert before[-1] <= after[0] <= before[-1] + 1


def losses(log: list[dict]) -> list[int]:
    """Return the trials whose worker groups were lost."""
    return [event["number"] for event in log if event["event"] == "lost"]


def after_loss(log: list[dict]) -> list[dict]:
    return log[next(at for at, event in enumerate(log) if event["event"] == "lost") :]


def wait_while_it_runs(
    running: Cluster, name: str, process: subprocess.Popen, happened: Callable[[], Any], what: str
) -> None:
    def check() -> bool:
        assert process.poll() is None, text_of(running, name)
        return bool(happened())

    try:
        wait_until(check, what, seconds=PATIENCE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}: {text_of(running, name)[-3000:]}") from None


def test_ray_up_starts_a_head_without_cores_and_the_workers_that_the_file_names(running):
    found = running.cpus_by_address()
    assert found == {running.head.address: 0} | {worker.address: 1 for worker in running.workers[:2]}


def test_a_client_without_the_token_is_refused(running):
    status = f"ray status --address {running.head.address}:6379"
    assert running.at_desk(status).returncode == 0, "nobody is let in"
    for stranger in (f"RAY_AUTH_TOKEN={'0' * 64}", "RAY_AUTH_MODE=disabled"):
        said = running.at_desk(f"{stranger} {status}")
        assert said.returncode != 0
        assert "InvalidAuthToken" in said.stdout


def test_trials_of_a_killed_host_go_on_late_hosts_are_used_and_a_job_resumes_what_a_killed_driver_left(running):
    stays, goes, *late = running.workers
    with search(running, "spot", f"--trials 8 {ENDLESS}") as process:
        wait_for = partial(wait_while_it_runs, running, "spot", process)

        # Two lanes, one on each host.
        wait_for(lambda: {0, 1} <= {e["number"] for e in events(running, "spot") if e["event"] == "epoch"}, "an epoch")
        assert nodes_of(running, "Lane") == sorted([stays.address, goes.address])

        # A spot machine is taken back.
        running.hosts.kill(goes)
        wait_for(lambda: losses(events(running, "spot")), "a loss")
        [lost] = losses(events(running, "spot"))

        # The cloud has others now: one in its place, and one more, because the search can use it.
        running.offer(*late)
        all_three = sorted(host.address for host in (stays, *late))
        wait_for(lambda: nodes_of(running, "Lane") == all_three, "a lane on each of the late hosts")
        wait_for(lambda: epochs(after_loss(events(running, "spot")), lost), "an epoch of the lost trial")
        check_goes_on(events(running, "spot"), lost)

        signal_driver(running, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)
    before = events(running, "spot")
    resumed = f"{SEARCH} --resume spot --time-budget-seconds 5"
    said = running.ray("exec", f"'cd tumour-search && ray job submit -- {resumed}'", timeout_seconds=PATIENCE_SECONDS)
    assert said.returncode == 0, said.stdout
    after = events(running, "spot")[len(before) :]
    for number in {event["number"] for event in before}:
        if again := epochs(after, number):
            assert epochs(before, number)[-1] <= again[0] <= epochs(before, number)[-1] + 1
    check_promoted(running, "spot")


def test_a_trial_over_two_hosts_goes_on_after_the_cable_of_one_is_out_and_ctrl_c_promotes_it(running):
    by_address = {host.address: host for host in running.workers}
    with search(running, "cable", f"--trials 1 --workers-per-trial 2 {ENDLESS}") as process:
        wait_for = partial(wait_while_it_runs, running, "cable", process)
        wait_for(lambda: len(epochs(events(running, "cable"))) >= 3, "the third epoch")
        stays, goes = nodes_of(running, "RayTrainWorker")
        assert stays != goes
        running.hosts.cut_off(by_address[goes])
        wait_for(lambda: losses(events(running, "cable")), "a loss")
        wait_for(lambda: epochs(after_loss(events(running, "cable"))), "an epoch on other hosts")
        check_goes_on(events(running, "cable"), 0)
        signal_driver(running, signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0, text_of(running, "cable")
    check_promoted(running, "cable")


def test_ray_down_gives_every_machine_back(running):
    said = running.ray("down", "-y")
    assert said.returncode == 0, said.stdout
    wait_until(lambda: not any(host.is_alive for host in running.hosts.others), "the end of all machines", seconds=60)
    assert "ray" not in running.hosts.desk.run("ps -e -o comm=").stdout
