"""What is said of Ray and of the cluster that RAY_ADDRESS names."""

import os
import socket

import pytest

from search.doctor.checks import cluster
from search.doctor.checks.cluster import check_ray, judge_cluster
from search.doctor.checks.finding import Level
from search.doctor.facts.probe import NoAnswer

FACTS = {"version": "2.60.0", "nodes": 3, "cpus": 24.0, "gpus": 2.0, "others": "", "dashboard": ""}


def test_cluster_that_answers_is_described():
    assert [(found.level, found.value) for found in judge_cluster(FACTS)] == [
        (Level.OK, "3 nodes, 24 CPUs, 2 GPUs"),
        (Level.OK, "it answers"),
    ]


def test_cluster_without_machines_or_a_dashboard_is_yellow():
    found = [*judge_cluster(FACTS | {"nodes": 1, "cpus": 0.0, "gpus": 0.0, "dashboard": "it refuses"})]
    assert [one.level for one in found] == [Level.WARN, Level.WARN]
    assert found[0].value == "1 node, 0 CPUs, 0 GPUs: no machine may run trials yet"
    assert "it refuses" in found[1].value


def test_other_jobs_are_named():
    assert next(judge_cluster(FACTS | {"others": "other jobs hold 3 CPU"})).value.endswith("; other jobs hold 3 CPU")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (NoAnswer("ray is not installed", missing="ray"), "pip install"),
        (NoAnswer("RuntimeError: Version mismatch: The cluster was started with Ray: 2.59.0"), "must be the same"),
        (NoAnswer("AuthenticationError: no token"), "RAY_AUTH_MODE=token"),
        (NoAnswer("the Ray cluster there requires a token; set RAY_AUTH_MODE"), "RAY_AUTH_MODE=token"),
        (NoAnswer("another version of this program than here, or none, is on 10.0.0.7"), "checkout"),
        (NoAnswer("RAY_ADDRESS is 'ray://h:1', but a search runs [...], not in a client of Ray"), "RAY_ADDRESS=auto"),
        (NoAnswer("RAY_ADDRESS is '10.0.0.7:1', but no cluster answers there"), "unset it"),
    ],
)
def test_remedy_is_that_of_the_cause(error, remedy):
    assert remedy in cluster._remedy(error)


def test_ray_that_runs_here_unasked_is_mentioned(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert [found.value for found in check_ray({})][1] == "not set: a search starts Ray on this machine"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray/ray_current_cluster").write_text(f"{address}\n")
        found = [*check_ray({})][1]
    assert found.value.endswith(f"(another Ray runs here, at {address}; RAY_ADDRESS=auto would use it)")
    assert found.level is Level.OK


@pytest.mark.slow  # it loads Ray
def test_address_that_is_none_is_a_failure(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    found = [*check_ray(os.environ)][-1]
    assert found.level is Level.FAIL
    assert "RAY_ADDRESS is 'nonsense', but must be HOST:PORT" in found.value
    assert "unset it" in found.remedy
