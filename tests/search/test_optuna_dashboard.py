"""The study file in Optuna's own dashboard: the real server opens the file while our searcher writes it."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from search.record.epochs import METRIC
from search.record.files import STUDY_FILE
from search.record.trials import State
from search.space.named import CORE
from search.suggestion.searcher import OptunaSearcher

COMMAND = Path(sys.executable).with_name("optuna-dashboard")

pytestmark = pytest.mark.skipif(
    not (COMMAND.exists() or shutil.which("optuna-dashboard")), reason="needs the extra 'dashboard'"
)


class Dashboard:
    """The server, and its HTTP API."""

    def __init__(self, study: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        command = [COMMAND if COMMAND.exists() else "optuna-dashboard", "--host", "127.0.0.1", "--port", self._port]
        self._process = subprocess.Popen(
            [*map(str, command), str(study)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.get("/api/studies")
                return
            except urllib.error.URLError:
                assert self._process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30) as answer:
            return json.load(answer)

    def page(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=30) as answer:
            return answer.read().decode()

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("study") / STUDY_FILE


@pytest.fixture(scope="module")
def searcher(study) -> OptunaSearcher:
    """A searcher with a COMPLETE, a PRUNED, a FAILED and a running trial in its file."""
    searcher = open_searcher(study, "mine")
    for number, (dices, state) in enumerate(
        (([0.25, 0.75], State.COMPLETE), ([0.5], State.PRUNED), ([], State.FAILED), ([0.125], None))
    ):
        searcher.suggest()
        for epoch, dice in enumerate(dices, start=1):
            searcher.report(number, epoch, dice)
        if state:
            searcher.end(number, state)
    return searcher


def open_searcher(study: Path, name: str, **options: Any) -> OptunaSearcher:
    budget = {"num_trials": 6, "max_epochs": 3}
    return OptunaSearcher(CORE, sampler="random", seed=0, study=study, name=name, **budget, **options)


@pytest.fixture(scope="module")
def dashboard(study, searcher) -> Iterator[Dashboard]:
    dashboard = Dashboard(study)
    try:
        dashboard.wait()
        yield dashboard
    finally:
        dashboard.end()


def test_dashboard_lists_the_study_by_the_experiments_name(dashboard):
    [study] = dashboard.get("/api/studies")["study_summaries"]
    assert (study["study_name"], study["directions"]) == ("mine", ["maximize"])


def test_dashboard_shows_the_state_and_every_epoch_of_every_trial(dashboard):
    trials = dashboard.get("/api/studies/0")["trials"]
    assert [trial["state"] for trial in trials][:4] == ["Complete", "Pruned", "Fail", "Running"]
    epochs = [[(one["step"], one["value"]) for one in trial["intermediate_values"]] for trial in trials[:4]]
    assert epochs == [[(1, 0.25), (2, 0.75)], [(1, 0.5)], [], [(1, 0.125)]]
    assert trials[0]["values"] == [0.75]
    assert {one["name"] for one in trials[0]["params"]} == set(CORE)


def test_dashboard_follows_a_search_that_goes_on(dashboard, searcher):
    number = len(dashboard.get("/api/studies/0")["trials"])
    assert number == searcher.num_suggested == 4
    searcher.suggest()
    searcher.report(number, 1, 0.875)
    searcher.end(number, State.COMPLETE)
    deadline = time.monotonic() + 20  # it reads the file every few seconds
    while len(trials := dashboard.get("/api/studies/0")["trials"]) == number or trials[-1]["state"] != "Complete":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert trials[-1]["values"] == [0.875]


def test_dashboard_has_a_page_that_loads_nothing_from_elsewhere(dashboard):
    page = dashboard.page("/dashboard/")
    assert "<title>Optuna Dashboard" in page
    assert all(link.startswith("/") for link in re.findall(r'(?:src|href)="([^"]*)"', page))


def test_dashboard_opens_a_study_of_several_objectives(tmp_path):
    searcher = open_searcher(tmp_path / STUDY_FILE, "both", objectives=(METRIC, "latency_ms"))
    searcher.suggest()
    searcher.report(0, 1, 0.5, costs={"latency_ms": 3.0})
    searcher.end(0, State.COMPLETE)
    dashboard = Dashboard(tmp_path / STUDY_FILE)
    try:
        dashboard.wait()
        study = dashboard.get("/api/studies/0")
        assert study["directions"] == ["maximize", "minimize"]
        assert study["objective_names"] == [METRIC, "latency_ms"]
        assert [trial["values"] for trial in study["trials"]] == [[0.5, 3.0]]
    finally:
        dashboard.end()
