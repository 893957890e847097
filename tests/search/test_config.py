"""The config of a search: its defaults, its errors, and the command line."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from data.command import run_command
from data.errors import UserError
from data.preprocess import Preprocessing
from data.source import ReadingOptions
from search.config import SearchConfig
from search.experiment import GROUPS
from search.presets import PRESETS, named
from search.promotion.options import Promotion
from search.record.objectives import OBJECTIVES
from search.scheduling.schedulers import SCHEDULERS
from search.suggestion.samplers import SAMPLERS
from search.tune import main, parse


def test_smoke_is_the_default_with_a_budget_and_all_presets_hold():
    small, final = Preprocessing(size=64), Promotion(final_seeds=1)
    smoke = SearchConfig(data="phantom:12", budget="2m", trials=3, batch_size=8, promotion=final, preprocessing=small)
    assert smoke == PRESETS["smoke"]()
    assert list(PRESETS) == ["smoke", "workstation", "cluster"]
    assert all(isinstance(preset(), SearchConfig) for preset in PRESETS.values())


def status_of(options: list[str]) -> object:
    """Return the exit status of a command that only parses its options; tyro exits by itself where it refuses one."""
    try:
        return run_command(lambda argv: int(not parse(argv)), options)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "trials is 0, but must be at least 1"),
        ({"max_epochs": 0}, "max_epochs is 0, but must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
        ({"width": 0}, "width is 0, but must be at least 1, or left out"),
        ({"grace_period": 0}, "grace_period is 0, but must be at least 1, or left out"),
        ({"reduction_factor": 1}, "reduction_factor is 1, but must be at least 2"),
        ({"workers_per_trial": 0}, "workers_per_trial is 0, but must be at least 1"),
        ({"max_failures": -1}, "max_failures is -1, but must be at least 0"),
        ({"patience": -1}, "patience is -1, but must be at least 0"),
        ({"time_budget_seconds": 0.5}, "time_budget_seconds is 0.5, but must be at least 1, or left out"),
        ({"gpus_per_worker": -1.0}, "gpus_per_worker is -1.0, but must be at least 0, or left out"),
        ({"cpus_per_worker": 0}, "cpus_per_worker is 0, but must be at least 1, or left out"),
        ({"max_concurrent": 0}, "max_concurrent is 0, but must be at least 1, or left out"),
        ({"grace_period": 10}, "grace_period is 10, but must be at most max_epochs (9)"),
        (
            {"budget": "soon"},
            "budget is 'soon', but must be a time such as 90s, 30m, 8h or 2d, or a number of epochs such as "
            '"500 epochs"',
        ),
        (
            {"budget": "8h", "begin_with_default": False},
            "budget is '8h', which is planned around a trial of the default configuration: do not turn "
            "begin_with_default off",
        ),
        ({"checkpoints_gb": -0.5}, "checkpoints_gb is -0.5, but must be at least 0, or left out"),
        (
            {"space": "huge"},
            "space is 'huge', but must be one of core, wide, or the path of a sweep file, and no such file is there",
        ),
        ({"searcher": "bohb"}, f"searcher is 'bohb', but must be one of {', '.join(SAMPLERS)}"),
        ({"searcher": ""}, f"searcher is '', but must be one of {', '.join(SAMPLERS)}"),
        ({"scheduler": "pbt"}, f"scheduler is 'pbt', but must be one of {', '.join(SCHEDULERS)}"),
        (
            {"name": "a/b"},
            "name is 'a/b', but it becomes a folder and a W&B group: use letters, digits, dots, dashes and "
            "underscores, at most 100, and begin with a letter or digit",
        ),
        (
            {"resume": "runs/a"},
            "resume is 'runs/a', but it becomes a folder and a W&B group: use letters, digits, dots, dashes and "
            "underscores, at most 100, and begin with a letter or digit",
        ),
        (
            {"preprocessing": Preprocessing(size=100)},
            "size is 100, but the space has unet networks that need a multiple of 32 pixels, from 64 "
            "to 1024: 128 or 256 are usual",
        ),
        (
            {"batch_size": 6, "workers_per_trial": 4},
            "batch_size is 6, but must be divisible by workers_per_trial (4)",
        ),
        (
            {"space": "wide", "batch_size": 3, "workers_per_trial": 3},
            "batch_size is 8, but must be divisible by workers_per_trial (3)",
        ),
    ],
)
def test_config_refuses(changes, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        SearchConfig(**changes)


@pytest.mark.parametrize("option", ["name", "resume"])
@pytest.mark.parametrize("name", ["..", ".hidden", "-x", "a b", "a\n", "x" * 101])
def test_config_refuses_names_that_are_no_folder(option, name):
    with pytest.raises(UserError, match=f"^{option} is .* but it becomes a folder"):
        SearchConfig(**{option: name})


@pytest.mark.parametrize("size", [1, 32, 65, 1008])
def test_config_refuses_sizes_that_the_deepest_network_cannot_halve(size):
    with pytest.raises(UserError, match="networks that need a multiple of 32 pixels"):
        SearchConfig(preprocessing=Preprocessing(size=size))


def test_config_accepts_its_bounds():
    SearchConfig(
        trials=1, max_epochs=1, grace_period=1, reduction_factor=2, max_failures=0, preprocessing=Preprocessing(size=64)
    )
    SearchConfig(
        gpus_per_worker=0.0,
        cpus_per_worker=1,
        max_concurrent=1,
        time_budget_seconds=1,
        preprocessing=Preprocessing(size=1024),
    )
    SearchConfig(name="x" * 100, resume="y" * 100, checkpoints_gb=0.0)


@pytest.mark.parametrize(("option", "names"), [("searcher", SAMPLERS), ("scheduler", SCHEDULERS)])
def test_help_names_every_searcher_and_scheduler_that_a_config_accepts(option, names, capsys):
    for name in names:
        assert getattr(parse([f"--{option}", name]), option) == name
    with pytest.raises(SystemExit):
        parse(["--help"])
    said = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    described = said.partition(f"--{option} ")[2].partition("(default")[0]
    assert [name for name in names if f"`{name}`" not in described] == []


def test_named_keeps_a_name_that_was_given():
    config = SearchConfig(name="mine", out=Path("there"))
    assert named(config) is config
    assert config.folder == Path("there/mine")


@pytest.mark.parametrize(
    ("data", "stem"),
    [
        ("phantom", "phantom"),
        ("phantom:40", "phantom-40"),
        ("/data/LGG MRI/kaggle_3m/", "kaggle-3m"),
        ("..", "search"),
        ("/", "search"),
        ("\u00e9", "search"),
    ],
)
def test_named_is_the_data_and_the_time(data, stem):
    assert re.fullmatch(rf"{stem}-\d{{8}}-\d{{6}}", named(SearchConfig(data=data)).name)


def test_named_shortens_data_with_a_long_name():
    assert len(named(SearchConfig(data="x" * 200)).name) <= 100


def test_shared_settings_are_those_of_the_config():
    config = SearchConfig(max_epochs=5, batch_size=8, width=4, patience=2, precision="bf16", seed=3)
    shared = config.shared_settings(in_channels=1)
    assert (shared.in_channels, shared.max_epochs, shared.batch_size, shared.width) == (1, 5, 8, 4)
    assert (shared.patience, shared.precision, shared.seed) == (2, "bf16", 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_parse_begins_with_a_preset_and_changes_it(preset):
    found = parse([preset, "--data", "kaggle_3m", "--name", "n", "--trials", "4", "--time-budget-seconds", "60"])
    expected = PRESETS[preset]()
    changed = {"data": "kaggle_3m", "name": "n", "trials": 4, "time_budget_seconds": 60.0}
    changed |= {"given": ("trials",), "budget": None, "promotion": Promotion()}
    if preset == "smoke":  # its slices and batches are small for a first look only
        changed |= {"preprocessing": Preprocessing(), "batch_size": SearchConfig.batch_size}
    for field in fields(SearchConfig):
        assert getattr(found, field.name) == changed.get(field.name, getattr(expected, field.name))


@pytest.mark.parametrize("preset", PRESETS)
def test_budget_takes_the_place_of_the_size_of_a_preset(preset):
    found, expected = parse([preset, "--budget", "8h", "--name", "n"]), PRESETS[preset]()
    assert (found.budget, found.trials, found.max_epochs) == ("8h", SearchConfig.trials, SearchConfig.max_epochs)
    assert found.promotion == Promotion()
    assert (found.space, found.width, found.patience) == (expected.space, expected.width, expected.patience)
    found = parse([preset, "--budget=500 epochs", "--trials", "60", "--max-epochs", "54"])
    assert (found.budget, found.trials, found.max_epochs) == ("500 epochs", 60, 54)


@pytest.mark.parametrize(
    ("options", "budget", "given"),
    [
        ([], "2m", ()),
        (["--data", "kaggle_3m", "--final-seeds=3", "--folds", "5"], "2m", ("final_seeds",)),
        (["--trials", "8"], None, ("trials",)),
        (["--max_epochs=9", "--grace-period", "3"], None, ("grace_period", "max_epochs")),
        (["--time-budget-seconds", "60"], None, ()),
        (["--no-begin-with-default"], None, ()),
        (["--budget", "1h", "--trials", "8"], "1h", ("trials",)),
        (["workstation"], None, ()),
    ],
)
def test_size_on_the_command_line_takes_the_place_of_the_budget_of_a_preset(options, budget, given):
    found = parse(options)
    assert (found.budget, found.given) == (budget, given)


def test_epoch_that_is_measured_is_no_option_of_the_command_line(capsys):
    with pytest.raises(SystemExit):
        parse(["--epoch-seconds", "3"])
    assert "--epoch-seconds" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(["--help"])
    assert "epoch-seconds" not in capsys.readouterr().out


def test_parse_of_nothing_is_the_smoke_search_with_a_name():
    assert replace(parse([]), name="") == PRESETS["smoke"]()
    assert parse([]).name.startswith("phantom-")
    assert parse(["--dry-run"]).dry_run


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--epochs", "3"], "--epochs"),
        (["--data", "x", "workstation"], "workstation"),
        (["--trials", "many"], "--trials"),
        (["--precision", "int8"], "--precision"),
        (["--trials", "0"], "trials is 0, but must be at least 1"),
        (["--searcher", "bohb"], "searcher is 'bohb', but must be one of"),
        (["--checkpoints-gb", "-1"], "checkpoints_gb is -1.0, but must be at least 0"),
        (["--resume", "../a"], "resume is '../a', but it becomes a folder"),
        (["--grace-period", "40"], "grace_period is 40, but must be at most max_epochs"),
    ],
)
def test_parse_ends_with_status_2_and_says_what_is_wrong(options, said, capsys):
    assert status_of(options) == 2
    assert said in capsys.readouterr().err


def test_parse_takes_lists_of_experiments_and_a_file_to_try():
    found = parse(["--warm-start", "one", "two", "--try", "samples/first.json"])
    assert found.warm_start == ("one", "two")
    assert found.try_first == Path("samples/first.json")
    assert (parse([]).warm_start, parse([]).try_first) == ((), None)


def test_parse_refuses_to_resume_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path / 'gone'} is not an experiment of this program: "):
        parse(["--resume", "gone", "--out", str(tmp_path)])


def test_help_prints_every_option_and_the_presets(capsys):
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    for field in (
        *(
            one for one in fields(SearchConfig) if one.name not in (*GROUPS, "epoch_seconds", "given")
        ),  # which are recorded only
        *fields(Preprocessing),
        *fields(ReadingOptions),
    ):
        option = {"try_first": "try", "cache": "no-cache", "fixed": "set", "ranges": "range"}.get(
            field.name, field.name.replace("_", "-")
        )
        assert re.search(rf"--{option}[ ,]", printed)
    assert all(preset in printed for preset in PRESETS)


def test_main_returns_2_for_data_that_is_not_there(tmp_path, capsys):
    assert main(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path)]) == 2
    assert f"{tmp_path / 'nowhere'} does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": ("val_dice", "val_iou")},
            f"objective is 'val_iou', but must be one of {', '.join(OBJECTIVES)}",
        ),
        (
            {"objective": ("val_dice", "latency_ms"), "promotion": Promotion(ensemble=3)},
            "ensemble is 3, but with several objectives (val_dice, latency_ms) one network is promoted: leave it out",
        ),
        (
            {"objective": ("val_dice", "latency_ms"), "promotion": Promotion(final_seeds=2)},
            "final_seeds is 2, but with several objectives (val_dice, latency_ms) one network is promoted: give at "
            "most 1",
        ),
        (
            {"objective": ("latency_ms", "val_dice")},
            "objective is latency_ms, val_dice, but must begin with val_dice",
        ),
        ({"objective": ("latency_ms",)}, "objective is latency_ms, but must begin with val_dice"),
        (
            {"objective": ("val_dice", "latency_ms"), "searcher": "cmaes"},
            "searcher is 'cmaes', which takes one objective only, not val_dice, latency_ms: choose one of "
            + ", ".join(name for name, kind in SAMPLERS.items() if not kind.one_objective),
        ),
        (
            {"objective": ("val_dice", "million_parameters"), "scheduler": "median"},
            "scheduler is 'median', which takes one objective only, not val_dice, million_parameters: choose one of "
            + ", ".join(name for name, kind in SCHEDULERS.items() if not kind.one_objective),
        ),
        ({"dice_tolerance": -0.01}, "dice_tolerance is -0.01, but must be at least 0"),
    ],
)
def test_config_refuses_objectives(changes, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        SearchConfig(**changes)


def test_config_counts_an_objective_that_is_named_twice_once():
    twice = ("val_dice", "latency_ms", "val_dice", "million_parameters", "latency_ms")
    assert SearchConfig(objective=twice).objective == ("val_dice", "latency_ms", "million_parameters")
    assert SearchConfig(objective=("val_dice", "val_dice"), searcher="cmaes").objective == ("val_dice",)


@pytest.mark.parametrize(
    ("options", "objectives"),
    [
        ([], ("val_dice",)),
        (["--objective", "val_dice"], ("val_dice",)),
        (["--objective", "latency_ms"], ("val_dice", "latency_ms")),
        (["--objective", "val_dice", "--objective", "latency_ms"], ("val_dice", "latency_ms")),
        (
            ["workstation", "--objective", "million_parameters", "--objective", "latency_ms", "--searcher", "tpe"],
            ("val_dice", "million_parameters", "latency_ms"),
        ),
    ],
)
def test_parse_adds_objectives_to_dice(options, objectives):
    found = parse(options)
    assert found.objective == objectives
    assert found.shared_settings(in_channels=3).measure_latency == ("latency_ms" in objectives)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objective", "speed"], "objective is 'speed', but must be one of val_dice, latency_ms"),
        (["--objective", "latency_ms", "--searcher", "cmaes"], "searcher is 'cmaes', which takes one objective only"),
    ],
)
def test_parse_refuses_objectives_with_status_2(options, said, capsys):
    assert status_of(options) == 2
    assert said in capsys.readouterr().err
