"""Connecting to Ray, and starting it on this machine."""

import json
import os

import pytest
import ray
from ray.cluster_utils import Cluster

from search.cluster.session import RAY_SETTINGS, inherited, ray_session


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """Undo at the end what a session sets."""
    for name in RAY_SETTINGS:
        monkeypatch.delenv(name, raising=False)


def test_inherited_variables_are_restored_after_the_block(monkeypatch):
    monkeypatch.setenv("WAS_THERE", "before")
    monkeypatch.delenv("WAS_NOT", raising=False)
    with inherited({"WAS_THERE": "meanwhile", "WAS_NOT": "meanwhile"}):
        assert (os.environ["WAS_THERE"], os.environ["WAS_NOT"]) == ("meanwhile", "meanwhile")
    assert (os.environ["WAS_THERE"], os.environ.get("WAS_NOT")) == ("before", None)


@pytest.mark.ray
@pytest.mark.slow
def test_session_in_a_job_of_ray_keeps_the_variables_of_the_job(monkeypatch):
    job = {"runtime_env": {"env_vars": {"RAY_worker_niceness": "0", "OF_THE_JOB": "here"}}}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    try:
        with ray_session():
            assert ray.get(ray.remote(os.getenv).remote("OF_THE_JOB")) == "here"
    finally:
        cluster.shutdown()


@pytest.mark.ray
@pytest.mark.slow
def test_ray_of_this_machine_has_the_allotted_cpus_and_workers_that_do_not_yield(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    with ray_session():
        assert ray.cluster_resources()["CPU"] == 1
        assert ray.get(ray.remote(lambda: os.nice(0)).remote()) == os.nice(0)
