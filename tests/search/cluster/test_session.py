"""Connecting to Ray: what an address may be, and what workers are told about their cluster."""

import os
import socket

import pytest
import ray

from data.errors import UserError
from search.cluster.session import NO_API_SERVER, RAY_SETTINGS, api_server_variable, inherited, ray_session


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """Undo at the end what a session sets."""
    for name in RAY_SETTINGS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def closed_port():
    """A port of this machine that is taken, and on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def connect() -> None:
    with ray_session():
        raise AssertionError("there is no cluster")


@pytest.mark.parametrize("address", ["nonsense", "10.0.0.7:port", "http://10.0.0.7:8265"])
def test_an_illegal_ray_address_is_the_users_mistake(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"^RAY_ADDRESS is '{address}', but must be HOST:PORT, ray://HOST"):
        connect()


def test_an_address_where_nothing_listens_is_the_users_mistake_and_said_at_once(monkeypatch, closed_port):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    words = rf"RAY_ADDRESS is '127.0.0.1:{closed_port}', but no Ray cluster answers there \(one that requires a token"
    with pytest.raises(UserError, match=words):
        connect()


def test_workers_are_told_the_api_server_of_their_own_cluster_or_that_there_is_none():
    assert api_server_variable("10.0.0.7:6379") == {"RAY_API_SERVER_ADDRESS": "10.0.0.7:6379"}
    assert api_server_variable(None) == api_server_variable("local") == {"RAY_API_SERVER_ADDRESS": NO_API_SERVER}
    assert api_server_variable("ray://10.0.0.7:10001") == {}


def test_inherited_variables_are_restored_after_the_block(monkeypatch):
    monkeypatch.setenv("WAS_THERE", "before")
    monkeypatch.delenv("WAS_NOT", raising=False)
    with inherited({"WAS_THERE": "meanwhile", "WAS_NOT": "meanwhile"}):
        assert (os.environ["WAS_THERE"], os.environ["WAS_NOT"]) == ("meanwhile", "meanwhile")
    assert (os.environ["WAS_THERE"], os.environ.get("WAS_NOT")) == ("before", None)


@pytest.mark.ray
def test_ray_of_this_machine_has_the_allotted_cpus_and_workers_that_do_not_yield(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    with ray_session():
        assert ray.cluster_resources()["CPU"] == 1
        assert ray.get(ray.remote(lambda: os.nice(0)).remote()) == os.nice(0)
