"""Somebody's own space and network, searched: a sweep file of W&B and a function of forty lines."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from model.weights import read_weights
from search.compare.experiments import read_one
from search.record.trials import State
from search.report.__main__ import main as report
from search.result import load
from search.tune import main as tune
from tests.support.fakes import number_in
from tests.support.html_page import HtmlPage
from tests.support.own_network import NAME

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# The example of W&B's documentation, with the hyperparameters of this program.
SWEEP = """
program: train.py
method: random
name: sweep
metric:
  goal: maximize
  name: val_dice
run_cap: 3
parameters:
  learning_rate:
    distribution: log_uniform_values
    min: 1e-3
    max: 1e-2
  batch_size:
    values: [4, 8]
  optimizer:
    values: ["adam", "sgd"]
  momentum:
    min: 0.8
    max: 0.99
  kind:
    values: ["relu", "tanh"]
  width:
    value: 6
"""
ORIGINS = ("unet", "monai:SegResNet", NAME)
SHARED = {"learning_rate": {"min": 1e-3, "max": 5e-3}, "width": {"value": 8}}
TINY = ("--data", "phantom:8", "--size", "32", "--max-epochs", "3", "--no-cache", "--final-seeds", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return the folder of a search of the sweep over somebody's own network."""
    runs = tmp_path_factory.mktemp("own")
    (runs / "sweep.yaml").write_text(SWEEP)
    options = ("--space", str(runs / "sweep.yaml"), "--network", NAME, "--out", str(runs), "--name", "own")
    assert tune([*TINY, *options]) == 0
    return runs / "own"


def test_sweep_is_searched_as_it_is(folder):
    rows = load(folder).rows
    assert [row.state == State.FAILED for row in rows] == [False] * 3
    for row in rows:
        wanted = {"learning_rate", "batch_size", "optimizer", "kind"} | (
            {"momentum"} if row.sample["optimizer"] == "sgd" else set()
        )
        assert set(row.sample) == wanted
        assert 1e-3 <= number_in(row.sample, "learning_rate") <= 1e-2


def test_own_network_comes_out_as_a_model(folder):
    best = load(folder).best
    assert best is not None
    masks = best.predict(next(folder.parent.glob("phantom_*/kaggle_3m/PHANTOM_*")))
    assert (masks.dtype, masks.shape[1:]) == (bool, (128, 128))
    [network] = read_weights(best.folder / "weights.safetensors", own=[NAME]).networks
    assert network.config.architecture == NAME  # pyright: ignore[reportAttributeAccessIssue]
    assert NAME in (best.folder / "card.md").read_text()


def test_report_and_comparison_show_the_space_without_the_network(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tests.support.own_network", None)  # it cannot be imported any more
    assert report([folder.name, "--out", str(folder.parent)]) == 0
    rows = HtmlPage((folder / "report.html").read_text()).rows
    assert ["momentum", "0.8 to 0.99; where optimizer is sgd"] in rows
    assert ["architecture", f"{NAME} in every trial"] in rows
    assert read_one(folder).hyperparameters({"kind": "relu"})["width"] == 6


def test_resumed_search_has_the_recorded_space(folder):
    assert tune(["--resume", "own", "--out", str(folder.parent), "--trials", "4"]) == 0
    result = load(folder)
    assert len(result.rows) == 4
    assert math.isfinite(result.rows[-1].best_dice)


def test_networks_of_three_origins_are_searched_in_one_experiment(tmp_path):
    (tmp_path / "space.json").write_text(
        json.dumps({"parameters": {"architecture": {"values": list(ORIGINS)}, "depth": {"min": 1, "max": 2}, **SHARED}})
    )
    (tmp_path / "first.json").write_text(json.dumps([{"architecture": name} for name in ORIGINS]))
    options = ("--space", str(tmp_path / "space.json"), "--try", str(tmp_path / "first.json"), "--trials", "3")
    where = ("--out", str(tmp_path), "--name", "three", "--no-begin-with-default", "--scheduler", "none")
    assert tune([*TINY, *options, *where]) == 0
    result = load(tmp_path / "three")
    assert [row.sample["architecture"] for row in result.rows] == list(ORIGINS)
    assert ["depth" in row.sample for row in result.rows] == [True, True, False]
    assert all(row.state == State.COMPLETE for row in result.rows)
    assert result.best is not None
    assert result.best.predict(np.zeros((4, 40, 48, 3), np.uint8)).shape == (4, 40, 48)
    assert result.trials["depth"].isna().tolist() == [False, False, True]
