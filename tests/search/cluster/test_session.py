"""Whom the processes of a search ask about their cluster."""

import os

from search.cluster.session import NO_API_SERVER, api_server_variable, inherited


def test_processes_ask_about_their_own_cluster_and_of_a_ray_of_this_machine_alone_nobody():
    assert api_server_variable("10.0.0.7:6379") == {"RAY_API_SERVER_ADDRESS": "10.0.0.7:6379"}
    assert api_server_variable(None) == api_server_variable("local") == {"RAY_API_SERVER_ADDRESS": NO_API_SERVER}
    assert api_server_variable("ray://10.0.0.7:10001") == {}


def test_variables_are_inherited_only_meanwhile(monkeypatch):
    monkeypatch.setenv("WAS_THERE", "before")
    monkeypatch.delenv("WAS_NOT", raising=False)
    with inherited({"WAS_THERE": "meanwhile", "WAS_NOT": "meanwhile"}):
        assert (os.environ["WAS_THERE"], os.environ["WAS_NOT"]) == ("meanwhile", "meanwhile")
    assert (os.environ["WAS_THERE"], os.environ.get("WAS_NOT")) == ("before", None)
