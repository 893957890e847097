"""The folder of a search: created once, resumed only as what it was, and written by one search at a time."""

import json
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.preprocess import Preprocessing
from data.splitting.options import SplitOptions
from search.cluster.capacity.lane_plan import LanePlan
from search.config import SearchConfig
from search.experiment import (
    CHANGEABLE,
    check_changes,
    check_folder,
    exclusive_writer,
    open_experiment,
    recorded_config,
    resume_experiment,
)
from search.presets import PRESETS
from search.promotion.options import Promotion
from search.record.experiment_record import ExperimentRecord, WarmStart, read_experiment, write_experiment
from search.record.files import CONFIG_FILE
from tests.support.fakes import small_cohort

LANES = LanePlan(num_lanes=2, num_workers=1, cpus_per_worker=1, gpus_per_worker=0.0)
KNOWN = WarmStart(first=({"depth": 3},))


def config(out: Path, **changes: Any) -> SearchConfig:
    return SearchConfig(**{"out": out, "name": "mine"} | changes)


def begin(asked: SearchConfig, *, known: WarmStart = KNOWN) -> ExperimentRecord:
    """Return what config.json says of an experiment that began, and is over."""
    with open_experiment(asked, small_cohort(), LANES, known) as experiment:
        return experiment


def as_read(experiment: ExperimentRecord) -> ExperimentRecord:
    """Return a record whose options are as JSON has them: lists in place of tuples."""
    return replace(experiment, config=json.loads(json.dumps(experiment.config)))


def refusal(changed: SearchConfig, recorded: SearchConfig) -> str:
    with pytest.raises(UserError, match=r".") as caught:
        check_changes(changed, recorded)
    return str(caught.value)


def write_config(folder: Path, **values: Any) -> None:
    """Write the config.json of an experiment with these options in place of its own; None leaves one out."""
    begin(config(folder.parent, name=folder.name))
    experiment = read_experiment(folder)
    changed = {
        name: value for name, value in (experiment.config | values).items() if name not in values or value is not None
    }
    write_experiment(folder, replace(experiment, config=changed))


def test_check_folder_creates_the_parents_and_no_more(tmp_path):
    asked = config(tmp_path / "a" / "b")
    check_folder(asked)
    check_folder(asked)
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("is_file", [True, False])
def test_check_folder_refuses_one_that_exists_and_says_how_to_resume_it(tmp_path, is_file):
    (tmp_path / "mine").touch() if is_file else (tmp_path / "mine").mkdir()
    message = f"{tmp_path}/mine exists already: resume it with --resume mine, choose another --name, or remove it"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        check_folder(config(tmp_path))


@pytest.mark.parametrize("out", ["/proc/runs", "/dev/full", "/dev/null/runs"])
def test_check_folder_refuses_an_out_that_cannot_be_written(out):
    with pytest.raises(UserError, match=rf"^--out {out} cannot be written \(.+\): choose another folder$"):
        check_folder(config(Path(out)))


@contextmanager
def no_room() -> Iterator[None]:
    """Let files be created, but not grow, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_check_folder_refuses_an_out_without_room(tmp_path):
    with (
        no_room(),
        pytest.raises(UserError, match=rf"^--out {tmp_path} cannot be written \(.+\): choose another") as caught,
    ):
        check_folder(config(tmp_path))
    assert "File too large" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_check_folder_refuses_to_resume_trials_whose_log_is_missing(tmp_path):
    begin(config(tmp_path))
    resumed, log = replace(config(tmp_path), resume="mine"), tmp_path / "mine/events.jsonl"
    check_folder(resumed)  # it was killed before its first trial
    (tmp_path / "mine/trials.jsonl").write_text('{"number": 0}\n')
    for write in (lambda: None, log.touch):
        write()
        with pytest.raises(UserError, match=r"has trials in trials.jsonl, but not their events in events.jsonl"):
            check_folder(resumed)
    log.write_text('{"event": "begin"}\n')
    check_folder(resumed)


def test_open_experiment_writes_what_it_yields(tmp_path):
    experiment = begin(config(tmp_path / "deep" / "runs", data="kaggle_3m"))
    written = json.loads((tmp_path / "deep/runs/mine" / CONFIG_FILE).read_text())
    assert read_experiment(tmp_path / "deep/runs/mine") == as_read(experiment)
    assert written["data"] == {
        "source": "kaggle_3m",
        "format": "lgg",
        "skipped": [],
        "fingerprint": "0123456789abcdef",
        "num_channels": 3,
        "num_slices": {"train": 2, "val": 1, "test": 1},
        "num_tumour_slices": {"train": 1, "val": 1, "test": 0},
        "num_persons": {"train": 0, "val": 0, "test": 0},
        "split": {"train": ["A", "B"], "val": ["C"], "test": ["D"]},
    }
    assert written["known"] == {"earlier": [], "first": [{"depth": 3}]}
    assert (written["lanes"]["num_lanes"], written["version"]) == (2, 1)
    assert written["space"].keys() == {"learning_rate", "depth", "dropout", "bce_weight"}
    assert {"started", "command", "commit", "versions"} <= written.keys()


def test_open_experiment_does_not_begin_where_something_is(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError):
        begin(config(tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"time_budget_seconds": 60.0, "checkpoints_gb": 0.5, "max_concurrent": 3, "patience": 2, "seed": 7},
        {"budget": "30m", "epoch_seconds": 5.25, "grace_period": 3, "time_budget_seconds": 1040.0},
        {"try_first": Path("samples") / "first.json", "warm_start": ("one", "two")},
        {"searcher": "gp", "scheduler": "median", "space": "wide", "tracking": "off", "data": "phantom:40"},
    ],
)
def test_recorded_config_is_what_the_experiment_began_with(tmp_path, changes):
    asked = config(tmp_path, **changes)
    begin(asked)
    assert recorded_config(tmp_path / "mine") == asked


@pytest.mark.parametrize("preset", PRESETS)
def test_recorded_config_of_every_preset_is_the_same(tmp_path, preset):
    asked = replace(PRESETS[preset](), out=tmp_path, name="mine")
    begin(asked)
    assert recorded_config(asked.folder) == asked


def test_recorded_config_does_not_say_that_it_was_resumed(tmp_path):
    begin(config(tmp_path))
    resume_experiment(config(tmp_path, resume="mine"), small_cohort())
    assert recorded_config(tmp_path / "mine").resume == ""


def test_recorded_config_finds_its_folder_where_it_was_moved_to(tmp_path):
    begin(config(tmp_path / "here"))
    (tmp_path / "here").rename(tmp_path / "there")
    assert recorded_config(tmp_path / "there" / "mine").folder == tmp_path / "there" / "mine"


def test_recorded_config_of_a_renamed_experiment_is_of_its_folder(tmp_path):
    begin(config(tmp_path))
    (tmp_path / "mine").rename(tmp_path / "other")
    assert recorded_config(tmp_path / "other").folder == tmp_path / "other"


def test_recorded_config_refuses_options_of_another_version(tmp_path):
    write_config(tmp_path / "mine", pruner="none", colour="red")
    message = f"{tmp_path}/mine/config.json has options that this version does not know: colour, pruner"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        recorded_config(tmp_path / "mine")


def test_recorded_config_refuses_values_that_are_not_legal(tmp_path):
    write_config(tmp_path / "mine", searcher="bohb")
    with pytest.raises(UserError, match="searcher is 'bohb', but must be one of"):
        recorded_config(tmp_path / "mine")


@pytest.mark.parametrize("value", [None, 5, True, "many", [1], {}, {"a": 1}], ids=str)
def test_recorded_config_does_not_fall_over_values_of_another_kind(tmp_path, value):
    begin(config(tmp_path))
    experiment = read_experiment(tmp_path / "mine")
    for option in experiment.config:
        write_experiment(tmp_path / "mine", replace(experiment, config=experiment.config | {option: value}))
        with suppress(UserError):  # which a person is told
            recorded_config(tmp_path / "mine")


def test_recorded_config_of_an_older_version_did_not_begin_with_the_default(tmp_path):
    write_config(tmp_path / "mine", begin_with_default=None)
    found = recorded_config(tmp_path / "mine")
    assert (found.begin_with_default, found.default_trial) == (False, None)
    assert found.scheduler_request().default_trial is None
    assert found.scheduler_request().grace_period == found.max_epochs // 9  # a third since then


def test_search_with_a_searcher_that_was_removed_goes_on_with_another(tmp_path):
    write_config(tmp_path / "mine", searcher="forest")
    assert recorded_config(tmp_path / "mine").searcher == "tpe"


LACKED = [field.name for field in fields(SearchConfig) if field.name not in ("resume", "begin_with_default")]


@pytest.mark.parametrize("option", LACKED)
def test_recorded_config_of_an_older_version_has_the_defaults_of_what_it_lacks(tmp_path, option):
    write_config(tmp_path / "mine", **{option: None})
    assert recorded_config(tmp_path / "mine") == config(tmp_path)


@pytest.mark.parametrize("content", [None, "", '{"started": "2026', "\x00" * 8])
def test_recorded_config_refuses_what_is_no_experiment(tmp_path, content):
    if content is not None:
        (tmp_path / CONFIG_FILE).write_text(content)
    with pytest.raises(UserError, match=f"^{tmp_path} is not an experiment of this program: "):
        recorded_config(tmp_path)


@pytest.mark.parametrize("content", ["{}", "[]", '{"config": null}', '{"config": [1]}'])
def test_recorded_config_refuses_json_of_something_else(tmp_path, content):
    (tmp_path / CONFIG_FILE).write_text(content)
    with pytest.raises(UserError, match=f"^{tmp_path} is not an experiment of this program: "):
        recorded_config(tmp_path)


def test_check_changes_accepts_what_may_change(tmp_path):
    changed = config(
        tmp_path,
        data="elsewhere",
        trials=99,
        time_budget_seconds=60.0,
        max_concurrent=1,
        max_failures=0,
        checkpoints_gb=1.0,
        workers_per_trial=2,
        gpus_per_worker=0.0,
        cpus_per_worker=1,
        tracking="off",
        cache=False,
        dry_run=True,
        resume="mine",
        promotion=Promotion(
            candidates=1, ties="best", choose=False, final_seeds=1, final_epochs=7, ensemble=2, folds=2
        ),
    )
    check_changes(changed, config(tmp_path))
    now, before = (vars(one) | vars(one.promotion) for one in (changed, config(tmp_path)))
    assert {name for name in CHANGEABLE if now[name] != before[name]} == set(CHANGEABLE)


def test_check_changes_refuses_another_space(tmp_path):
    for changes in ({"space": "wide"}, {"fixed": ("width=8",)}, {"ranges": ("depth=2..3",)}):
        message = "the search space is another one than when mine began; begin a new search for it"
        assert refusal(replace(config(tmp_path), **changes), config(tmp_path)) == message


@pytest.mark.parametrize(
    ("name", "value", "before"),
    [
        ("seed", 1, 0),
        ("max_epochs", 10, 9),
        ("budget", "8h", None),
        ("searcher", "gp", "prior_gp"),
        ("scheduler", "none", "asha"),
        ("grace_period", 2, None),
        ("size", 64, 128),
        ("val_fraction", 0.25, 0.2),
        ("batch_size", 8, 16),
        ("precision", "bf16", "auto"),
        ("warm_start", ("one",), ()),
        ("name", "other", "mine"),
    ],
)
def test_check_changes_refuses_what_would_compare_other_things(tmp_path, name, value, before):
    groups = {"size": ("preprocessing", Preprocessing), "val_fraction": ("splitting", SplitOptions)}
    group, kind = groups.get(name, (name, None))
    changes = {group: kind(**{name: value}) if kind else value}
    changed = replace(config(tmp_path), **changes)
    assert refusal(changed, config(tmp_path)) == (
        f"{name} is {value!r}, but was {before!r} when {changed.name} began; a search that is resumed can change only "
        "data, trials, time_budget_seconds, max_concurrent, max_failures, checkpoints_gb, workers_per_trial, "
        "gpus_per_worker, cpus_per_worker, tracking, cache, dry_run, candidates, ties, choose, final_seeds, "
        "final_epochs, ensemble, folds"
    )


def test_resume_experiment_records_when_and_with_what(tmp_path):
    begun = begin(config(tmp_path))
    for times, trials in ((1, 20), (2, 30)):
        resumed = resume_experiment(config(tmp_path, trials=trials, resume="mine"), small_cohort())
        assert len(resumed.resumed) == times
        assert recorded_config(tmp_path / "mine").trials == trials
    assert read_experiment(tmp_path / "mine") == as_read(resumed)
    assert replace(resumed, config=begun.config, resumed=()) == begun


def test_resume_experiment_refuses_other_patients_and_changes_nothing(tmp_path):
    begin(config(tmp_path))
    before = (tmp_path / "mine" / CONFIG_FILE).read_bytes()
    message = (
        "the patients in elsewhere are not those that mine began with (fingerprint fedcba987654, then 0123456789ab): "
        "put the old ones back, or begin a new search"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        resume_experiment(config(tmp_path, data="elsewhere", trials=99), small_cohort("fedcba9876543210"))
    assert (tmp_path / "mine" / CONFIG_FILE).read_bytes() == before


def is_being_written(folder: Path) -> bool:
    try:
        with exclusive_writer(folder):
            return False
    except UserError:
        return True


def test_open_experiment_holds_the_folder_while_it_is_open_and_not_after(tmp_path):
    with open_experiment(config(tmp_path), small_cohort(), LANES, KNOWN):
        assert is_being_written(tmp_path / "mine")
    assert not is_being_written(tmp_path / "mine")
    with (
        pytest.raises(RuntimeError, match="inside"),
        open_experiment(config(tmp_path, resume="mine"), small_cohort(), LANES, WarmStart()),
    ):
        raise RuntimeError("inside")
    assert not is_being_written(tmp_path / "mine")


def test_a_resumed_experiment_keeps_what_was_known_when_it_began(tmp_path):
    begin(config(tmp_path))
    for _ in range(2):
        resumed = begin(config(tmp_path, resume="mine", trials=20), known=WarmStart())
        assert resumed.known == read_experiment(tmp_path / "mine").known == KNOWN


def test_open_experiment_changes_nothing_while_another_search_writes(tmp_path):
    with open_experiment(config(tmp_path), small_cohort(), LANES, KNOWN):
        before = (tmp_path / "mine" / CONFIG_FILE).read_bytes()
        with pytest.raises(UserError, match=f"^another search or promotion is writing to {tmp_path}/mine"):
            begin(config(tmp_path, resume="mine", trials=99))
        assert (tmp_path / "mine" / CONFIG_FILE).read_bytes() == before


def test_open_experiment_releases_one_with_other_patients(tmp_path):
    begin(config(tmp_path))
    with (
        pytest.raises(UserError, match="are not those that mine began with"),
        open_experiment(config(tmp_path, resume="mine"), small_cohort("fedcba9876543210"), LANES, WarmStart()),
    ):
        pytest.fail("other patients")
    assert not is_being_written(tmp_path / "mine")
