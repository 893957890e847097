"""Weights & Biases: where the key is, without the key, and whether the server answers."""

import os
import socket

import pytest

from search.doctor.checks.finding import Level
from search.doctor.checks.tracking import check_tracking
from search.doctor.facts.wandb_account import find_host, find_key

KEY = 40 * "5"


def findings(environment, **options):
    return {found.name: found for found in check_tracking(environment, **options)}


def test_key_of_the_environment_is_present_and_never_shown():
    found = findings({"WANDB_API_KEY": KEY})
    assert (found["key"].level, found["key"].value) == (Level.OK, "present, in WANDB_API_KEY")
    assert KEY not in repr(found)


def test_key_of_a_file_is_that_of_the_server(tmp_path):
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    environment = {"HOME": str(tmp_path)}
    assert find_key("https://api.wandb.ai", environment) == str(tmp_path / ".netrc")
    assert find_key("https://wandb.example.com", environment) == ""
    assert KEY not in repr(findings(environment))


def test_no_key_is_no_problem(tmp_path):
    found = findings({"HOME": str(tmp_path)})
    assert found["key"].level is Level.OK
    assert "needed only for" in found["key"].value
    assert found["connection"].value == "not checked (--online does it)"


def test_damaged_file_of_keys_is_named_without_its_text(tmp_path):
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user {KEY} {KEY}\n")
    found = findings({"HOME": str(tmp_path)})["key"]
    assert found.level is Level.WARN
    assert str(tmp_path / ".netrc") in found.value
    assert KEY not in repr(found)


def test_host_is_that_of_the_environment_or_of_the_settings(tmp_path):
    assert find_host({"HOME": str(tmp_path)}) == "https://api.wandb.ai"
    (tmp_path / ".config/wandb").mkdir(parents=True)
    (tmp_path / ".config/wandb/settings").write_text("[default]\nbase_url = https://wandb.example.com\n")
    assert find_host({"HOME": str(tmp_path)}) == "https://wandb.example.com"
    assert find_host({"HOME": str(tmp_path), "WANDB_BASE_URL": "http://other"}) == "http://other"


def test_server_that_does_not_answer_is_yellow_because_tracking_is_offline(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{closed.getsockname()[1]}"
        found = findings({"HOME": str(tmp_path), "WANDB_BASE_URL": host}, is_online=True)["connection"]
    assert found.level is Level.WARN
    assert "refused" in found.value
    assert "--tracking offline" in found.remedy


@pytest.mark.slow  # it loads W&B
def test_server_that_takes_the_key_names_the_account(server):
    found = findings(os.environ, is_online=True)
    assert found["connection"].value == "the server answers"
    assert (found["login"].level, found["login"].value.startswith("as ")) == (Level.OK, True), found["login"].value
