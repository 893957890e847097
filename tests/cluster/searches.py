"""Searches on a cluster: how a person starts them from the desk, and what they write."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

from search.record.jsonl import read_lines
from search.record.trials import TrialRow, read_rows
from tests.cluster.cluster import FILE, Cluster, wait_until
from tests.cluster.hosts import ROOT, Host

PATIENCE_SECONDS = 300
SEARCH = "python -m search.tune --width 4 --tracking off --no-choose --out /mnt/shared/runs"
SMALL = "--data phantom:6 --size 64"
LARGE = "--data phantom:10 --size 128 --width 2 --trials 8 --max-epochs 1 --scheduler none"
ENDLESS = "--max-epochs 5000 --scheduler none"
DRIVER = """--entrypoint-resources '{"driver": 1}'"""
"""Makes a job's driver run on a worker's node."""


def folder(running: Cluster, name: str) -> Path:
    return running.hosts.shared / "runs" / name


def rows(running: Cluster, name: str) -> list[TrialRow]:
    return read_rows(folder(running, name) / "trials.jsonl")


def events(running: Cluster, name: str) -> list[dict]:
    file = folder(running, name) / "events.jsonl"
    return list(read_lines(file)) if file.exists() else []


def epochs(log: list[dict], number: int | None = None) -> list[int]:
    """Return the epochs that ended, of one trial or of all, in their order."""
    ended = [event for event in log if event["event"] == "epoch" and number in (None, event["number"])]
    return [event["metrics"]["epoch"] for event in ended]


def trained(log: list[dict]) -> set[int]:
    """Return the trials that have ended an epoch."""
    return {event["number"] for event in log if event["event"] == "epoch"}


def losses(log: list[dict]) -> list[int]:
    """Return the trials whose worker groups were lost."""
    return [event["number"] for event in log if event["event"] == "lost"]


def after_loss(log: list[dict]) -> list[dict]:
    return log[next(at for at, event in enumerate(log) if event["event"] == "lost") :]


def check_goes_on(log: list[dict], number: int) -> None:
    """Check that a trial repeated at most one epoch after it was lost."""
    [lost] = [at for at, event in enumerate(log) if event["event"] == "lost" and event["number"] == number]
    before, after = epochs(log[:lost], number), epochs(log[lost:], number)
    assert before[-1] <= after[0] <= before[-1] + 1


def check_resumed(before: list[dict], after: list[dict]) -> None:
    """Check that a resumed search repeated at most one epoch of each trial."""
    for number in {event["number"] for event in before}:
        if again := epochs(after, number):
            last = max(epochs(before, number), default=0)
            assert max(last, 1) <= again[0] <= last + 1


def check_plain(said: str) -> None:
    """Check that a job printed plain lines, as for a file."""
    assert not any(words in said for words in ("\x1b", "\r", "Traceback", "WARNING", "Warning")), said


def check_promoted(running: Cluster, name: str) -> None:
    assert (folder(running, name) / "best" / "model.onnx").exists()


def nodes_of(running: Cluster, actor: str) -> list[str]:
    """Return the addresses of the nodes on which actors of this kind live."""
    addresses = "{n['NodeID']: n['NodeManagerAddress'] for n in ray.nodes()}"
    actors = f"[a.node_id for a in state.list_actors(limit=1000) if a.class_name == '{actor}' and a.state == 'ALIVE']"
    by_id, found = running.ask(f"[{addresses}, {actors}]")
    return sorted(by_id[node] for node in found)


@contextmanager
def at_head(running: Cluster, command: str, name: str) -> Iterator[tuple[subprocess.Popen, partial]]:
    """Run a command by `ray exec`; yield its process at the desk, and a function that waits while the process runs."""
    file = said_file(running, name)
    with file.open("w") as log:
        process = running.hosts.desk.start(
            f"cd {ROOT} && ray exec {FILE} {quote(command)}",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    with process:
        try:
            yield process, partial(_wait_for, lambda: process.poll() is None, file)
        finally:
            process.kill()


@contextmanager
def search(running: Cluster, name: str, options: str) -> Iterator[tuple[subprocess.Popen, partial]]:
    """Run a search on the head, and end it at the end of the block."""
    command = f"cd tumour-search && RAY_ADDRESS=auto {SEARCH} --name {name} {options}"
    with at_head(running, command, name) as started:
        yield started


@contextmanager
def dashboard(running: Cluster) -> Iterator[str]:
    """Forward the head's dashboard to the desk by `ray dashboard`; yield its address there."""
    desk = running.hosts.desk
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with desk.start(f"cd {ROOT} && ray dashboard {FILE}", **quiet):
        answers = "timeout 2 bash -c '</dev/tcp/127.0.0.1/8265'"
        wait_until(lambda: desk.run(answers).returncode == 0, "the dashboard at the desk", seconds=60)
        yield "http://127.0.0.1:8265"
        desk.run("pkill -KILL -f '[r]ay dashboard|[s]sh.*8265'")


def said_file(running: Cluster, name: str) -> Path:
    """Return the file with the output of what `at_head` runs."""
    return running.hosts.shared / f"{name}.log"


def ray_job(running: Cluster, verb: str, arguments: str) -> subprocess.CompletedProcess:
    """Return the result of `ray job` on the head."""
    command = quote(f"ray job {verb} {arguments}")
    return running.ray("exec", command, timeout_seconds=PATIENCE_SECONDS)


def submit(running: Cluster, name: str, options: str, *, job_options: str = "") -> None:
    """Submit a search as a job."""
    said = ray_job(running, "submit", f"--no-wait --submission-id {name} {job_options} -- {SEARCH} {options}")
    assert said.returncode == 0, said.stdout


def job(running: Cluster, name: str) -> dict[str, Any]:
    """Return what Ray knows of a job: `status`, `driver_node_id` and more; empty while there is no such job."""
    return running.ask(f"next((j.model_dump() for j in jobs.list_jobs() if j.submission_id == '{name}'), {{}})")


def driver_host(running: Cluster, name: str) -> Host:
    """Return the host on which a job's driver runs."""
    node = job(running, name)["driver_node_id"]
    address = running.ask(f"next(n['NodeManagerAddress'] for n in ray.nodes() if n['NodeID'] == '{node}')")
    return next(host for host in running.hosts.others if host.address == address)


def said_by(running: Cluster, name: str) -> str:
    """Return the output of a job until now."""
    return running.ask(f"jobs.get_job_logs('{name}')")


def is_over(running: Cluster, name: str) -> bool:
    return job(running, name).get("status") not in (None, "PENDING", "RUNNING")


def wait_for_end(running: Cluster, name: str, status: str) -> str:
    """Wait for the end of a job, which must have this status; return its output."""
    wait_until(lambda: is_over(running, name), f"the end of {name}", seconds=PATIENCE_SECONDS)
    assert job(running, name)["status"] == status, said_by(running, name)
    return said_by(running, name)


def wait_for_job(running: Cluster, name: str, happened: Callable[[], Any], what: str) -> None:
    """Wait until something has happened; fail if the job ends before."""
    wait_until(lambda: happened() or is_over(running, name), what, seconds=PATIENCE_SECONDS)
    assert happened(), said_by(running, name)


def signal_driver(host: Host, number: signal.Signals) -> None:
    said = host.run(f"pkill -{number.name.removeprefix('SIG')} -f '^python -m search.tune'")
    assert said.returncode == 0, said.stdout


def _wait_for(is_running: Callable[[], bool], log: Path, happened: Callable[[], Any], what: str) -> None:
    def check() -> bool:
        assert is_running(), log.read_text()
        return bool(happened())

    try:
        wait_until(check, what, seconds=PATIENCE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}: {log.read_text()[-3000:]}") from None
