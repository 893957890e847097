"""config.json: read as it was written, old ones too, and refused by name where it cannot be read."""

import json
from dataclasses import replace

import pytest

from data.errors import UserError
from data.splitting.split import Split
from search.record.experiment_record import (
    DataRecord,
    EarlierTrial,
    ExperimentRecord,
    LanesRecord,
    WarmStart,
    read_experiment,
    write_experiment,
)
from search.record.files import CONFIG_FILE
from search.record.provenance import provenance
from search.record.trials import State

EXPERIMENT = ExperimentRecord(
    started="2026-11-28T22:52:22+00:00",
    config={"data": "phantom:6", "trials": 4, "time_budget_seconds": None, "promotion": {"ties": "smaller"}},
    space={"depth": "2 to 5"},
    lanes=LanesRecord(num_lanes=1, num_workers=1, cpus_per_worker=2, gpus_per_worker=0.0, object_store_bytes=7_000_000),
    data=DataRecord(
        source="phantom:6",
        format="phantom",
        fingerprint="458f84c8694218c5",
        split=Split(train=("PHANTOM_0001", "PHANTOM_0003"), val=("PHANTOM_0006",), test=("PHANTOM_0002",)),
        num_slices={"train": 24, "val": 12, "test": 12},
        num_tumour_slices={"train": 12, "val": 7, "test": 6},
        num_persons={"train": 1, "val": 1, "test": 1},
        skipped=("PHANTOM_0004_3.tif: is empty",),
    ),
    provenance=provenance(),
    known=WarmStart(
        earlier=(EarlierTrial(sample={"depth": 3}, values={1: 0.25, 3: 0.5}, state=State.PRUNED, costs={"x": 1.5}),),
        first=({"depth": 2},),
    ),
    resumed=("2026-11-28T23:52:22+00:00",),
)
OLD = {
    "started": "2026-11-28T22:52:22+00:00",
    "config": {"data": "phantom:6", "trials": 4},
    "space": {"depth": "2 to 5"},
    "lanes": {"num_lanes": 1, "num_workers": 1, "cpus_per_worker": 2, "gpus_per_worker": 0.0, "object_store_bytes": 70},
    "data": {
        "source": "phantom:6",
        "format": "phantom",
        "skipped": [],
        "fingerprint": "458f84c8694218c5",
        "num_slices": {"train": 24, "val": 12, "test": 12},
        "num_tumour_slices": {"train": 12, "val": 7, "test": 6},
        "split": {"train": ["PHANTOM_0001", "PHANTOM_0003"], "val": ["PHANTOM_0006"], "test": ["PHANTOM_0002"]},
    },
    "command": ["tune.py", "--data", "phantom:6"],
    "commit": "28d174ce2ba1",
    "python": "3.11.7",
    "platform": "Linux",
    "versions": {"torch": "2.13.0+cpu", "ray": "2.60.0"},
    "known": {"earlier": [], "first": []},
}
"""config.json as the first version wrote it."""


@pytest.mark.parametrize(
    "changes", [{}, {"lanes": None, "known": WarmStart(), "resumed": ()}], ids=["everything", "defaults"]
)
def test_experiment_that_was_written_is_read(tmp_path, changes):
    experiment = replace(EXPERIMENT, **changes)
    write_experiment(tmp_path, experiment)
    assert read_experiment(tmp_path) == experiment
    assert json.loads((tmp_path / CONFIG_FILE).read_text())["version"] == 1


def test_old_config_is_read_and_written_as_it_was_with_a_version(tmp_path):
    (tmp_path / CONFIG_FILE).write_text(json.dumps(OLD))
    experiment = read_experiment(tmp_path)
    assert (experiment.num_trials, experiment.num_lanes, experiment.time_budget_seconds) == (4, 1, None)
    assert experiment.data.patients["train"] == ("PHANTOM_0001", "PHANTOM_0003")
    assert (experiment.provenance.commit, experiment.known) == ("28d174ce2ba1", WarmStart())
    write_experiment(tmp_path, experiment)
    assert json.loads((tmp_path / CONFIG_FILE).read_text()) == {"version": 1} | OLD | {
        "data": OLD["data"] | {"skipped": [], "num_channels": None, "num_persons": {}}
    }


def test_oldest_config_lacks_what_was_recorded_later(tmp_path):
    later = ("lanes", "python", "platform", "known")
    (tmp_path / CONFIG_FILE).write_text(json.dumps({key: value for key, value in OLD.items() if key not in later}))
    experiment = read_experiment(tmp_path)
    assert (experiment.lanes, experiment.num_lanes, experiment.provenance.python) == (None, 1, None)


def test_config_of_a_newer_version_is_refused_by_name(tmp_path):
    (tmp_path / CONFIG_FILE).write_text(json.dumps(OLD | {"version": 2}))
    with pytest.raises(UserError, match=f"^{tmp_path}/config.json was written by a newer version of this program"):
        read_experiment(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "config.json cannot be read: "),
        ("{", "config.json cannot be read: "),
        ("[" * 100_000, "config.json cannot be read: "),
        ("[]", "config.json is not a JSON object"),
        ("{}", "config.json: command is missing"),
        (json.dumps(OLD | {"data": OLD["data"] | {"split": {"train": []}}}), "config.json: data.split.val is missing"),
        (json.dumps(OLD | {"versions": 3}), "config.json: versions is 3, but must be a JSON object"),
    ],
    ids=["nothing", "cut off", "deep", "a list", "empty", "no side", "a number"],
)
def test_damaged_config_is_refused_with_the_key(tmp_path, content, words):
    if content is not None:
        (tmp_path / CONFIG_FILE).write_text(content)
    with pytest.raises(UserError) as caught:
        read_experiment(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path} is not an experiment of this program: {words}")
