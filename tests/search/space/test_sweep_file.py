"""A sweep file of Weights & Biases: what its words ask of a search, and what is refused."""

import json

import pytest
import yaml

from data.errors import UserError
from search.presets import from_sweep
from search.space.__main__ import main
from search.space.make import make_space
from search.space.sweep_file import MAX_BYTES, Sweep, read_sweep
from search.tune import parse

PARAMETERS = {"learning_rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2}, "depth": {"value": 3}}
SWEEP = {
    "program": "train.py",
    "method": "random",
    "name": "mine",
    "metric": {"name": "val_dice", "goal": "maximize"},
    "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 3},
    "run_cap": 12,
    "project": "brains",
    "parameters": PARAMETERS,
}


def test_words_are_options_of_a_search_or_answered():
    assert read_sweep(SWEEP) == Sweep(
        parameters=PARAMETERS,
        options={"searcher": "random", "scheduler": "asha", "reduction_factor": 3, "grace_period": 2, "trials": 12}
        | {"project": "brains"},
        notes=(
            "early_terminate of space is done by asha: a rung at 2 epochs, and each next one at 3 times the last",
            "program, name of space are not used",
        ),
    )


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_file_is_json_or_yaml(tmp_path, write):
    (tmp_path / "sweep").write_text(write(SWEEP))
    assert read_sweep(tmp_path / "sweep").parameters == PARAMETERS
    assert make_space(str(tmp_path / "sweep")) == make_space(SWEEP)


def test_number_that_yaml_reads_as_text_is_a_number(tmp_path):
    (tmp_path / "sweep.yaml").write_text("parameters: {learning_rate: {min: 1e-4, max: 1e-2}}")
    assert make_space(str(tmp_path / "sweep.yaml"))["learning_rate"].low == 1e-4  # pyright: ignore


def test_metric_that_is_a_cost_is_a_second_objective():
    assert read_sweep(SWEEP | {"metric": {"name": "latency_ms"}}).options["objective"] == "latency_ms"


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (
            {"metric": {"name": "val_loss", "goal": "minimize"}},
            "is val_loss, but trials are compared by val_dice",
        ),
        (
            {"metric": {"name": "val_dice", "goal": "maximize", "target": 0.9}},
            "target of the metric",
        ),
        ({"early_terminate": {"type": "hyperband", "max_iter": 27, "s": 2}}, "a rung at 3 epochs"),
        (
            {"early_terminate": {"type": "hyperband", "max_itr": 27}},
            "max_itr of early_terminate of space has no effect",
        ),
        ({"metrics": [{"name": "val_loss"}]}, "metrics of space is not used"),
        ({"early_terminate": {"type": "hyperband"}}, "a rung at the grace period epochs, and each next one at 3 times"),
    ],
)
def test_what_is_done_otherwise_is_noted(words, note):
    assert any(note in one for one in read_sweep({"parameters": PARAMETERS} | words).notes)


ERRORS = [
    ({"parameter": {}}, "has the word 'parameter', but a sweep has parameters, method"),
    ({"method": "random"}, "has parameters None, but must have hyperparameters by name there"),
    ({"parameters": []}, "has parameters [], but must have"),
    ({"parameters": PARAMETERS, "method": "hyperopt"}, "is 'hyperopt', but must be one of bayes, random, grid"),
    ({"parameters": PARAMETERS, "method": ["bayes"]}, "is ['bayes'], but must be one of bayes, random, grid"),
    ({"parameters": PARAMETERS, "run_cap": float("inf")}, "is inf, but must be a whole number of at least 1"),
    ({"parameters": PARAMETERS, "metric": "val_dice"}, "is 'val_dice', but must have a name and a goal"),
    (
        {"parameters": PARAMETERS, "metric": {"name": "val_dice"}},
        "is to minimize val_dice, but",
    ),
    ({"parameters": PARAMETERS, "metric": {"name": "x", "goal": "up"}}, "is 'up', but must be minimize or maximize"),
    ({"parameters": PARAMETERS, "run_cap": 0}, "is 0, but must be a whole number of at least 1"),
    ({"parameters": PARAMETERS, "early_terminate": {"type": "envelope"}}, "but must have the type hyperband"),
    ({"parameters": PARAMETERS, "early_terminate": {"type": "hyperband", "eta": 1}}, "is 1, but must be at least 2"),
    (
        {"parameters": PARAMETERS, "early_terminate": {"type": "hyperband", "min_iter": 1.5}},
        "is 1.5, but",
    ),
    ([1, 2], "holds [1, 2], but must hold a sweep: a mapping with `parameters`"),
    (None, "holds None, but must hold a sweep"),
]


@pytest.mark.parametrize(("content", "message"), ERRORS, ids=range(len(ERRORS)))
def test_mistake_names_the_file_and_what_is_legal(tmp_path, content, message):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as caught:
        read_sweep(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"parameters: {depth: [", "line 1 is not legal as YAML or JSON"),
        (
            b"parameters:\n  depth: {min: 1, max: 2}\n  depth: {min: 1, max: 3}",
            "line 3 is not .* 'depth' is there twice",
        ),
        (b'{"parameters": {"depth": {"min": 1, "min": 2, "max": 3}}}', "line 1 is not .* 'min' is there twice"),
        (b"\xff\xfe\x00", "cannot be read as a sweep"),
        (b"parameters: {depth: {value: 2020-13-01}}", "cannot be read as a sweep: month must be in 1..12"),
        (b"!!python/object/apply:os.system [echo]", "is not legal as YAML or JSON: could not determine a constructor"),
        (b" " * (MAX_BYTES + 1), "has 1,000,001 bytes, but a sweep has at most 1,000,000"),
        (b"[" * 20_000, "sweep.yaml"),
    ],
)
def test_file_that_is_no_sweep_is_refused(tmp_path, content, message):
    (tmp_path / "sweep.yaml").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_sweep(tmp_path / "sweep.yaml")


def test_missing_file_is_answered_with_the_names():
    with pytest.raises(UserError, match=r"space is 'wid', but must be one of core, wide, or the path of a sweep file"):
        read_sweep("wid")


def test_command_line_follows_the_sweep_and_overrides_it(tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    config = parse(["--space", str(tmp_path / "sweep.yaml"), "--trials", "5", "--set", "norm=batch"])
    assert (config.searcher, config.scheduler, config.grace_period) == ("random", "asha", 2)
    assert (config.trials, config.reduction_factor, config.project, config.budget) == (5, 3, "brains", None)
    assert config.search_space.constants == {"depth": 3, "norm": "batch"}
    assert "note: program, name of" in capsys.readouterr().err


def test_config_from_a_sweep_follows_it_and_is_overridden():
    config = from_sweep(SWEEP | {"metric": {"name": "million_parameters"}}, trials=5)
    assert (config.searcher, config.trials, config.objective) == ("random", 5, ("val_dice", "million_parameters"))
    assert config.search_space == make_space(SWEEP)


def test_check_says_what_a_file_asks_for(tmp_path, capsys):
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    assert main(["check", str(tmp_path / "sweep.yaml")]) == 0
    out, err = capsys.readouterr()
    assert f"{tmp_path / 'sweep.yaml'}: 1 axis, 1 constant\nasks for --searcher random\n" in out
    assert "note: program, name" in err
    (tmp_path / "sweep.yaml").write_text("parameters: {depth: {min: 1, max: 9}}")
    assert main(["check", str(tmp_path / "sweep.yaml")]) == 2
    assert capsys.readouterr().err == "error: depth is 9, but must be from 1 to 7\n"


def test_show_lists_axes_and_hyperparameters_with_what_is_legal(capsys):
    assert main(["show", "wide"]) == 0
    wide = capsys.readouterr().out
    assert "learning_rate: 0.0001 to 0.01, log\n    Peak learning rate" in wide
    assert "Legal: one of instance, batch" in " ".join(wide.split())
    assert main(["show"]) == 0
    assert "depth = 4\n    How often the resolution is halved" in capsys.readouterr().out
    assert main(["check"]) == 2
    assert main(["list"]) == 2
