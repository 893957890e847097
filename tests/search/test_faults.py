"""A fault of the program in any part of a search is told from a mistake of the user, and keeps its traceback."""

import re
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from ray import cloudpickle

from search import promote, tune
from search.cluster import engine
from search.cluster.capacity.lane_plan import LanePlan
from search.cluster.group import worker
from search.cluster.group.lane import Lane
from search.cluster.group.messages import LegConfig
from search.planning import budgeted_search
from search.record.trials import State, read_rows
from search.suggestion.searcher import OptunaSearcher, Suggestion

TINY = (
    "--data",
    "phantom:6",
    "--size",
    "64",
    "--width",
    "2",
    "--trials",
    "1",
    "--max-epochs",
    "1",
    "--tracking",
    "off",
)


class FaultyLane(Lane):
    """A lane whose trainings fail in their set-up."""

    def setup(self, config: dict[str, LegConfig], **options: Any) -> None:
        worker.train = _fail_in_set_up  # in the Tune actor's process, where a single worker runs as well
        super().setup(config, **options)


def _fail_in_set_up(*arguments: Any, **options: Any):
    raise ValueError("planted in the set-up")
    yield  # as train does, it raises when the first epoch is asked for


def _fail_in_searcher(self: OptunaSearcher) -> Suggestion:
    raise ValueError("planted in the searcher")


def _fail_in_promotion(*arguments: Any) -> None:
    raise ValueError("planted in the promotion")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs the command in `tmp_path/out`, where also the report of a fault is written."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lambda: tune.main(["--out", str(tmp_path / "out"), "--name", "mine", *TINY])


def reported_traceback(said: str, folder: Path) -> str:
    """Return what the file holds that the last line on the screen asks to report."""
    pattern = r"^error: this is a fault of the program; please report it with (.*) \(.*planted in the .*\)$"
    [path] = re.findall(pattern, said, re.MULTILINE)
    assert Path(path).parent == folder
    return Path(path).read_text()


@pytest.mark.ray
@pytest.mark.slow
def test_fault_in_training_set_up_fails_the_trial_and_keeps_its_traceback(run, tmp_path, monkeypatch, capsys):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(engine, "Lane", FaultyLane)
    try:
        assert run() == 1
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert "nothing to promote" in capsys.readouterr().err
    [row] = read_rows(tmp_path / "out/mine/trials.jsonl")
    assert row.state == State.FAILED
    text = (tmp_path / "out/mine/errors/t000.txt").read_text()
    assert "Traceback (most recent call last):" in text
    assert 'raise ValueError("planted in the set-up")\nValueError: planted in the set-up\n' in text


@pytest.mark.ray
@pytest.mark.slow
def test_fault_in_the_searcher_ends_the_search_and_keeps_its_traceback(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(OptunaSearcher, "suggest", _fail_in_searcher)
    assert run() == 1
    text = reported_traceback(capsys.readouterr().err, tmp_path)
    assert "in next_leg\n" in text
    assert 'raise ValueError("planted in the searcher")\nValueError: planted in the searcher\n' in text


@pytest.mark.slow
def test_fault_in_promotion_ends_the_search_and_keeps_its_traceback(run, tmp_path, monkeypatch, capsys):
    plan = LanePlan(num_lanes=1, num_workers=1, cpus_per_worker=1, gpus_per_worker=0.0)
    for name, stand_in in (
        ("ray_session", lambda remedy: nullcontext(None)),
        ("cluster_nodes", list),
        ("describe_other_jobs", lambda nodes: ""),
        ("run_trials", lambda *arguments, **options: []),
    ):
        monkeypatch.setattr(tune, name, stand_in)
    monkeypatch.setattr(budgeted_search, "plan_on_cluster", lambda config: plan)
    monkeypatch.setattr(promote, "_candidates", _fail_in_promotion)
    assert run() == 1
    text = reported_traceback(capsys.readouterr().err, tmp_path)
    assert "in promote\n" in text
    assert 'raise ValueError("planted in the promotion")\nValueError: planted in the promotion\n' in text
