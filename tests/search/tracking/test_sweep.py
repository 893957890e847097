"""The sweep of an experiment on W&B: one, made by the real client before the first trial, or not at all and soon."""

import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.space.configs import to_configs
from search.space.named import SPACES
from search.space.space import Space
from search.tracking.connection import Patience
from search.tracking.outage import forget_outage, how_to_send
from search.tracking.sweep import recorded_sweeps, sweep_config, where_runs_are
from tests.support.tracked import FIXED, open_offline, open_online, outage_in, track

pytestmark = pytest.mark.slow

CORE = SPACES["core"]


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    return folder


def test_space_is_told_in_the_words_of_wandb():
    axes = {
        "rate": FloatDistribution(1e-4, 1e-2, log=True),
        "dropout": FloatDistribution(0.0, 0.5),
        "share": FloatDistribution(0.0, 0.5, step=0.25),
        "depth": IntDistribution(2, 5),
        "batch_size": IntDistribution(8, 32, step=8),
        "units": IntDistribution(8, 64, log=True),
        "norm": CategoricalDistribution(["instance", "batch"]),
    }
    space = Space(axes, constants={"width": 24})
    config = sweep_config(space, name="small", searcher="gp")
    assert config["parameters"] == {
        "rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
        "depth": {"distribution": "int_uniform", "min": 2, "max": 5},
        "units": {"distribution": "q_log_uniform_values", "min": 8, "max": 64},
        "norm": {"values": ["instance", "batch"]},
        "share": {"distribution": "q_uniform", "min": 0.0, "max": 0.5, "q": 0.25},
        "batch_size": {"distribution": "q_uniform", "min": 8, "max": 32, "q": 8},
        "width": {"value": 24},
    }
    assert config["metric"] == {"name": "val_dice", "goal": "maximize"}
    assert "Optuna, searcher gp" in str(config["description"])


@pytest.mark.parametrize("space", SPACES)
def test_parameters_of_a_sweep_have_the_names_of_a_runs_config(space):
    axes = SPACES[space].items()
    sample = {name: axis.choices[0] for name, axis in axes if isinstance(axis, CategoricalDistribution)}
    sample |= {name: axis.low for name, axis in axes if isinstance(axis, FloatDistribution | IntDistribution)}
    network, train = to_configs(sample, FIXED)
    assert set(SPACES[space]) <= set(asdict(network) | asdict(train))


def test_online_search_has_one_sweep_with_all_its_runs(server, folder):
    for number in (0, 1):  # the second is tracked after the search was resumed
        tracker = open_online(folder)
        assert tracker.mode == "online"
        track(tracker, number)
        tracker.close()
    [sweep] = server.sweeps
    assert sweep["projectName"] == "tumours"
    assert yaml.safe_load(sweep["config"])["name"] == "small"
    assert {run.facts["sweep"] for run in server.runs.values()} == {"sweep1"}
    assert set(CORE) <= set(server.runs["small-t000"].config)
    [recorded] = recorded_sweeps(folder)
    assert where_runs_are(folder) == [recorded.url, recorded.group_url]
    assert recorded.url == f"{server.url}/me/tumours/sweeps/sweep1"
    assert recorded.group_url == f"{server.url}/me/tumours/groups/small"


def test_sweep_is_made_in_silence_and_without_a_trace(server, folder, capfd):
    before = dict(os.environ)
    open_online(folder).close()
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("attribute", "operation", "silent_seconds", "reason"),
    [
        ("silent_on", "*", 3, "no answer for 3 seconds"),
        ("broken_on", "*", 30, "HTTP 500"),
        ("refused", "UpsertSweep", 30, "no room is left"),
    ],
)
def test_search_goes_offline_where_no_sweep_can_be_made(server, folder, attribute, operation, silent_seconds, reason):
    setattr(server, attribute, operation)
    started = time.monotonic()
    tracker = open_online(folder, Patience(sweep_seconds=silent_seconds))
    assert time.monotonic() - started < 15
    assert tracker.mode == "offline"
    tracker.close()
    assert reason in outage_in(folder)
    assert outage_in(folder).endswith(f"; to send its runs later: python -m search.sync small --out {folder.parent}")
    assert recorded_sweeps(folder) == []


def test_wrong_key_is_said_but_not_shown(server, folder, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "too-short-a-secret")
    open_online(folder).close()
    assert "API key must have 40+ characters" in outage_in(folder)
    assert "too-short" not in outage_in(folder)


def test_where_runs_are_is_told_of_every_mode(server, folder, monkeypatch):
    assert where_runs_are(folder) == []
    tracker = open_offline(folder)
    track(tracker, 1)
    tracker.close()
    assert server.asked == {}
    assert where_runs_are(folder) == [f"offline; {how_to_send(folder)}"]
    open_online(folder).close()
    forget_outage(folder)
    assert len(where_runs_are(folder)) == 2
    monkeypatch.chdir(folder.parent)
    (folder.parent / "runs").mkdir()
    assert how_to_send(folder.parent / "runs" / "small") == "to send its runs later: python -m search.sync small"
