"""Experiments side by side: statistics against enumeration and by hand, and nothing tested that cannot be."""

import io
import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import rankdata

from data.preprocess import Preprocessing
from search.compare.__main__ import all_tables, default_name, main
from search.compare.experiments import read_experiments
from search.compare.significance import MIN_PATIENTS, bootstrap_p, compare_pairs, holm, measure, signed_rank_p
from search.compare.table import Table
from search.compare.terminal import print_tables
from search.record.trials import State
from tests.support.experiments import DICES, SPLIT, search_rows, write_experiment
from tests.support.fakes import trial_row

# --- statistics ---


def enumerated_signed_rank_p(differences) -> float:
    """Returns the two-sided p by its definition: of all ways to give the signs, those at least as extreme."""
    values = np.array([value for value in differences if value])
    ranks = rankdata(np.abs(values))
    sums = np.array([ranks[list(signs)].sum() for signs in itertools.product([False, True], repeat=len(values))])
    seen, middle = ranks[values > 0].sum(), ranks.sum() / 2
    return float(np.mean(np.abs(sums - middle) >= abs(seen - middle) - 1e-9))


def enumerated_bootstrap_p(differences) -> float:
    """Returns what `bootstrap_p` estimates: over all samples of the patients with replacement."""
    means = np.array([sum(drawn) for drawn in itertools.product(differences, repeat=len(differences))])
    return min(1.0, 2 * min(float(np.mean(means <= 1e-9)), float(np.mean(means >= -1e-9))))


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3, 4, 5, 6], 2 / 64),  # all better: one of 64 ways, and its mirror image
        ([-1, 2, 3, 4, 5, 6], 4 / 64),  # rank sums 0 and 1 below
        ([1, -2, 3, 4, 5, 6], 6 / 64),  # 0, 1 and 2
        ([1, 2, -3, 4, 5, 6], 10 / 64),  # 0, 1, 2, and 3 twice: 3, 1 + 2
        ([1, -1, 2, -2, 3, -3], 1.0),
        ([0, 0, 1, 2, 3], 2 / 8),  # zeros are left out
        ([5, 5, 5, 5, 5, 5], 2 / 64),  # ties
        ([0, 0, 0, 0, 0, 0], 1.0),
        ([0, 0, 0, 0, 0, -7], 1.0),
    ],
)
def test_signed_rank_p_by_hand(differences, p):
    assert signed_rank_p(np.array(differences, float)) == pytest.approx(p)


@pytest.mark.parametrize("seed", range(12))
def test_signed_rank_p_is_that_of_enumeration(seed):
    rng = np.random.default_rng(seed)
    differences = rng.normal(0.3, 1, rng.integers(6, 12))
    if seed % 3 == 1:
        differences = differences.round()  # ties and zeros
    assert signed_rank_p(differences) == pytest.approx(enumerated_signed_rank_p(differences))


@pytest.mark.parametrize(
    "differences",
    [
        [0.5, 0.25, 0.125, -0.25, 0.375, -0.125],
        [0.5, -0.25, 0.0, 0.0, 0.25, 0.125],
        [0.5, -0.5, 0.25, -0.25, 0.125, -0.125],
        [-0.5, -0.25, 0.0625, -0.125, -0.25, 0.0],
    ],
)
def test_bootstrap_p_is_that_of_all_samples(differences):
    p = enumerated_bootstrap_p(differences)
    deviation = 2 * math.sqrt(p / 2 * (1 - p / 2) / 10_000)
    assert bootstrap_p(np.array(differences)) == pytest.approx(p, abs=4 * deviation + 2e-4)


def test_bootstrap_p_is_never_zero_and_is_one_for_zeros():
    assert bootstrap_p(np.full(6, 0.25)) == pytest.approx(2 / 10_001)
    assert bootstrap_p(np.zeros(6)) == 1.0


@pytest.mark.parametrize("shift", np.linspace(-0.1, 0.4, 26))
def test_bootstrap_p_and_interval_agree(shift):
    found = measure(np.random.default_rng(1).normal(0, 0.2, 9) + shift)
    if abs(found.p_bootstrap - 0.05) > 0.001:  # at the border the interval lies between two samples
        assert (found.p_bootstrap < 0.05) == (found.mean.low > 0 or found.mean.high < 0)


def test_measure_is_symmetric_in_the_two_models():
    differences = np.random.default_rng(3).normal(0.05, 0.1, 12)
    one, other = measure(differences), measure(-differences)
    assert other.mean.mean == -one.mean.mean
    assert (other.mean.low, other.mean.high) == pytest.approx((-one.mean.high, -one.mean.low))
    assert (other.num_better, other.num_worse) == (one.num_worse, one.num_better)
    assert (other.p_bootstrap, other.p_wilcoxon) == (one.p_bootstrap, one.p_wilcoxon)


def test_measure_counts_rounding_errors_as_ties():
    found = measure([0.1 + 0.2 - 0.3, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert (found.num_better, found.num_equal, found.num_worse) == (0, 6, 0)
    assert (found.p_bootstrap, found.p_wilcoxon) == (1.0, 1.0)
    assert (found.mean.mean, found.mean.low, found.mean.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("ps", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4 x .005, 3 x .01, 2 x .03, and .04 not below
        ([0.02], [0.02]),
        ([0.5, 0.6, 0.7], [1.0, 1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([], []),
    ],
)
def test_holm_by_hand(ps, expected):
    assert holm(ps) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_the_step_down_procedure_rejects(seed):
    ps = np.random.default_rng(seed).uniform(size=6) ** 3
    rejected = set()
    for step, place in enumerate(np.argsort(ps)):
        if ps[place] > 0.05 / (6 - step):
            break
        rejected.add(place)
    assert {place for place, p in enumerate(holm(list(ps))) if p <= 0.05} == rejected


# --- what is tested, and what is not ---


def pairs_of(tmp_path, names):
    return compare_pairs(read_experiments(tmp_path, names))


def shifted(*shifts):
    """Returns test Dice that differ from DICES by these; the last for all others."""
    shifts = [*shifts, *[shifts[-1]] * len(DICES)]
    return {patient: dice + shift for (patient, dice), shift in zip(DICES.items(), shifts, strict=False)}


def test_compare_two_pairs_the_patients_by_name(tmp_path):
    write_experiment(tmp_path, "a", dices=DICES)
    write_experiment(tmp_path, "b", dices=dict(reversed(shifted(-0.0625, 0.0, 0.125).items())))
    [pair] = pairs_of(tmp_path, ["a", "b"])
    found = pair.difference
    assert (found.num_patients, found.num_better, found.num_equal, found.num_worse) == (8, 6, 1, 1)
    assert found.mean.mean == (6 * 0.125 - 0.0625) / 8
    assert found.p_wilcoxon == pytest.approx(enumerated_signed_rank_p([-0.0625] + [0.125] * 6))
    assert (found.holm_wilcoxon, found.holm_bootstrap) == (found.p_wilcoxon, found.p_bootstrap)
    assert pair.verdict == "b is better"
    assert pairs_of(tmp_path, ["b", "a"])[0].verdict == "b is better"


def test_difference_is_significant_only_if_both_tests_agree(tmp_path):
    write_experiment(tmp_path, "a", dices=DICES)
    # One patient gains much, all others lose a little: the ranks say worse, the mean says nothing.
    write_experiment(tmp_path, "b", dices=shifted(0.25, -0.03125, -0.0625, -0.046875, -0.015625, -0.0234375))
    [pair] = pairs_of(tmp_path, ["a", "b"])
    assert pair.difference.p_bootstrap > 0.05
    assert pair.verdict == "no difference shown"


def test_patient_without_a_dice_in_one_model_is_left_out(tmp_path):
    write_experiment(tmp_path, "a", dices=DICES | {"T0": None})
    write_experiment(tmp_path, "b", dices=shifted(0.125) | {"T1": math.nan})
    [pair] = pairs_of(tmp_path, ["a", "b"])
    assert pair.difference.num_patients == 6 == MIN_PATIENTS


def test_all_pairs_are_tested_and_corrected_in_any_order(tmp_path):
    rng = np.random.default_rng(0)
    for name in "abc":
        write_experiment(tmp_path, name, dices={one: dice + rng.normal(0, 0.05) for one, dice in DICES.items()})
    write_experiment(tmp_path, "d")  # not promoted: no test, and none that is corrected for
    found = {frozenset((pair.first, pair.second)): pair.difference for pair in pairs_of(tmp_path, ["a", "b", "c", "d"])}
    assert len(found) == 6
    tested = {names: difference for names, difference in found.items() if difference}
    assert set(tested) == {frozenset(names) for names in ("ab", "ac", "bc")}
    ps = {names: difference.p_wilcoxon for names, difference in tested.items()}
    smallest = min(ps, key=ps.get)
    assert tested[smallest].holm_wilcoxon == pytest.approx(min(1.0, 3 * ps[smallest]))
    again = {frozenset((pair.first, pair.second)): pair.difference for pair in pairs_of(tmp_path, ["d", "c", "b", "a"])}
    assert {names: one.holm_wilcoxon for names, one in again.items() if one} == {
        names: one.holm_wilcoxon for names, one in tested.items()
    }


OTHER_SPLIT = SPLIT | {"test": [*SPLIT["test"][:5], "A0", "A1"], "train": [*SPLIT["train"][2:], *SPLIT["test"][5:]]}
OTHER_SIZE = {"preprocessing": Preprocessing(size=64)}
OTHER_PIXELS = {"fingerprint": "f" * 64}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "no model was promoted in b, so there are no test scores"),
        (
            {"dices": dict.fromkeys(OTHER_SPLIT["test"], 0.5), "data": {"split": OTHER_SPLIT}},
            "their test patients differ: 8 and 7, 5 of them the same",
        ),
        (
            {"dices": DICES, "data": OTHER_PIXELS},
            "the pixels of their patients differ (data.fingerprint), although the patients have the same names",
        ),
        (
            {"dices": dict(list(DICES.items())[:5])},
            "5 test patient(s) have a Dice with both models, and with fewer than 6 no test can show a difference",
        ),
    ],
)
def test_pairs_are_not_tested_where_it_would_mislead(tmp_path, options, reason):
    write_experiment(tmp_path, "a", dices=DICES)
    write_experiment(tmp_path, "b", **options)
    [pair] = pairs_of(tmp_path, ["a", "b"])
    assert (pair.difference, pair.reason, pair.verdict) == (None, reason, "not tested")


def test_pairs_are_not_tested_without_a_promoted_model(tmp_path):
    for name in "ab":
        write_experiment(tmp_path, name, rows=[])
    assert pairs_of(tmp_path, ["a", "b"])[0].reason == "no model was promoted in a and b, so there are no test scores"


def test_pairs_with_other_preprocessing_are_tested_if_masks_agree(tmp_path):
    write_experiment(tmp_path, "a", dices=DICES)
    folder = write_experiment(tmp_path, "b", dices=shifted(0.125), config=OTHER_SIZE, data=OTHER_PIXELS)
    [pair] = pairs_of(tmp_path, ["a", "b"])
    assert pair.difference.num_patients == 8
    assert pair.reservations[0].startswith("slices were preprocessed differently")
    metrics = json.loads((folder / "best/metrics.json").read_text())
    metrics["test_patients"][3]["true_pixels"] += 1
    (folder / "best/metrics.json").write_text(json.dumps(metrics))
    [pair] = pairs_of(tmp_path, ["a", "b"])
    assert pair.reason.startswith("the masks of their test patients differ")


def test_reservations_are_in_the_notes(tmp_path):
    split = SPLIT | {"train": [*SPLIT["train"], "V0"], "val": ["V1"]}
    write_experiment(tmp_path, "a", dices=DICES, metrics={"num_test_scorings": 3})
    write_experiment(tmp_path, "b", dices=shifted(0.125), data={"split": split})
    [pair] = pairs_of(tmp_path, ["a", "b"])
    assert pair.reservations == (
        "the models were trained on different patients",
        "a scored the test patients 3 times, so its scores are too optimistic if a choice used them",
    )


def test_reasons_and_reservations_name_all_their_pairs_once(tmp_path):
    write_experiment(tmp_path, "a", dices=DICES, metrics={"num_test_scorings": 2})
    write_experiment(tmp_path, "b", dices=shifted(0.125))
    write_experiment(tmp_path, "c", dices=shifted(0.0625))
    write_experiment(tmp_path, "d")
    notes = tables_of(tmp_path, "a", "b", "c", "d")["significance"].notes
    assert [note.partition(":")[0] for note in notes[1:]] == [
        "b minus a, c minus a",
        "d minus a, d minus b, d minus c",
    ]


# --- tables ---


def tables_of(tmp_path, *names) -> dict[str, Table]:
    experiments = read_experiments(tmp_path, names)
    return {table.id: table for table in all_tables(experiments, compare_pairs(experiments))}


def cells(table) -> dict[str, tuple[str, ...]]:
    return {label: tuple(rest) for label, *rest in table.rows}


@pytest.fixture
def two(tmp_path):
    write_experiment(tmp_path, "a", dices=DICES)
    rows = [*search_rows(4, seed=1, seconds=4.0), trial_row(4, [], state=State.FAILED, error="raised")]
    write_experiment(tmp_path, "b", rows=rows, config={"searcher": "random", "seed": 1})
    return tmp_path


def test_tables_show_the_scores(two):
    found = cells(tables_of(two, "a", "b")["scores"])
    assert found["promoted model, test Dice"] == ("0.6094", "-")
    assert found["95 % interval"] == ("0.5000 to 0.7500", "-")
    assert found["test patients"] == ("8", "-")
    best = max(search_rows(), key=lambda row: row.best_dice)
    assert found["best validation Dice"][0] == f"{best.best_dice:.4f} ({best.id}, epoch {best.best_epoch.epoch})"
    median = np.median([row.best_dice for row in search_rows(4, seed=1)])
    assert found["median validation Dice"][1] == f"{median:.4f} (4 trials)"


def test_tables_show_the_budgets(two):
    found = cells(tables_of(two, "a", "b")["budget"])
    assert found == {
        "state": ("promoted", "interrupted"),
        "trials ended": ("6 of 6", "5 of 6"),
        "COMPLETE / PRUNED / FAILED": ("3 / 3 / 0", "2 / 2 / 1"),
        "epochs": ("15", "10"),
        "wall clock": ("30 s", "40 s"),
        "training time": ("30 s", "41 s"),
        "lanes x workers": ("1 x 1, each 2 CPU", "1 x 1, each 2 CPU"),
    }


def test_tables_compare_the_best_dice_at_fractions_of_the_smaller_budget(two):
    found = cells(tables_of(two, "a", "b")["efficiency"])
    assert list(found) == [
        *(f"after {n} epochs" for n in (2, 5, 8, 10, 15)),
        *(f"after {s} s" for s in (8, 15, 22, 30, 40)),
    ]
    assert (found["after 15 epochs"][1], found["after 40 s"][0]) == ("-", "-")  # b had 10 epochs, a had 30 seconds
    rows = search_rows()
    known = [epoch.val_dice for row in rows for epoch in row.epochs]
    assert found["after 5 epochs"][0] == f"{max(known[:5]):.4f}"
    assert found["after 8 s"][0] == f"{max(known[:3]):.4f}"  # 7.5 s: three epochs of two seconds


def test_tables_show_the_best_trial_where_no_model_was_promoted(two):
    table = tables_of(two, "a", "b")["winners"]
    best = max(search_rows(4, seed=1), key=lambda row: row.best_dice)
    assert cells(table)["winner"] == ("t001", best.id)
    assert cells(table)["depth"] == ("3", str(best.sample["depth"]))
    assert cells(table)["threshold"] == ("0.5", "-")
    assert table.notes == ("No model was promoted in b: the trial with the best validation Dice is shown.",)


def test_tables_show_fixed_hyperparameters_of_a_winner(tmp_path):
    write_experiment(tmp_path, "a", config={"width": 24})
    row = search_rows(1)[0]
    wide = replace(row, sample=row.sample | {"width": 8, "norm": "batch"})
    write_experiment(tmp_path, "b", rows=[wide], config={"space": "wide"})
    found = cells(tables_of(tmp_path, "a", "b")["winners"])
    assert (found["width"], found["norm"]) == (("24", "8"), ("instance", "batch"))
    assert "weight_decay" not in found  # of no trial an axis


def test_tables_list_only_options_that_differ(two):
    tables = tables_of(two, "a", "b")
    assert cells(tables["options"]) == {"searcher": ("tpe", "random"), "seed": ("0", "1")}
    assert tables["data"].rows == ()
    assert tables["data"].notes == ("None: the pixels and the split are the same.",)
    assert tables["environment"].rows == ()


EARLIER = {"sample": {"depth": 3}, "values": {"1": 0.5}, "state": "COMPLETE"}


def test_tables_list_data_versions_and_axes_that_differ(tmp_path):
    write_experiment(tmp_path, "a", run={"known": {"earlier": [EARLIER] * 2, "first": []}})
    write_experiment(
        tmp_path,
        "b",
        data={"split": SPLIT | {"test": ["X", *SPLIT["test"][1:]]}, "source": "elsewhere", "skipped": ["x"]},
        run={
            "space": {"learning_rate": "0.0001 to 0.01, log", "width": "one of 8, 16"},
            "versions": {"torch": "9", "ray": "4.5.6", "optuna": "7.8.9"},
            "commit": None,
        },
    )
    tables = tables_of(tmp_path, "a", "b")
    options = cells(tables["options"])
    assert options["trials of earlier searches"] == ("2", "0")
    assert (options["space.width"], options["space.depth"]) == (("-", "one of 8, 16"), ("2 to 5", "-"))
    assert "space.learning_rate" not in options
    assert cells(tables["data"]) == {
        "source": ("kaggle_3m", "elsewhere"),
        "excluded files": ("0", "1"),
        "test": ("8 patients, 7 of them in every experiment", "8 patients, 7 of them in every experiment"),
    }
    assert cells(tables["environment"]) == {"commit": ("c0ffee", "none"), "versions.torch": ("1.2.3", "9")}


def test_tables_say_when_validation_dice_cannot_be_compared(tmp_path):
    write_experiment(tmp_path, "a")
    write_experiment(tmp_path, "b", data={"split": SPLIT | {"val": ["V1"]}})
    write_experiment(tmp_path, "c")
    assert any("cannot be compared" in note for note in tables_of(tmp_path, "a", "b")["scores"].notes)
    assert not any("cannot be compared" in note for note in tables_of(tmp_path, "a", "c")["scores"].notes)


def test_tables_of_experiments_that_have_just_started(tmp_path):
    write_experiment(tmp_path, "a", rows=[])
    write_experiment(tmp_path, "b", rows=[trial_row(0, [], state=State.FAILED, error="raised")])
    tables = tables_of(tmp_path, "a", "b")
    assert cells(tables["scores"])["best validation Dice"] == ("-", "-")
    assert tables["efficiency"].rows == tables["winners"].rows == tables["importance"].rows == ()
    assert cells(tables["budget"])["wall clock"] == ("0 s", "0 s")


def test_tables_show_importances_if_there_are_enough_trials(tmp_path):
    write_experiment(tmp_path, "a", rows=search_rows(40), config={})
    write_experiment(tmp_path, "b")
    table = tables_of(tmp_path, "a", "b")["importance"]
    found = cells(table)
    assert set(found) == {"learning_rate", "depth", "dropout", "bce_weight"}
    assert all(other == "-" for _, other in found.values())
    assert sum(float(one.split()[0]) for one, _ in found.values()) == pytest.approx(1, abs=0.03)
    assert table.notes[-1] == "b: unknown; this needs 20 trials with different scores."


def test_running_trials_count_with_their_epochs(tmp_path):
    folder = write_experiment(tmp_path, "a", rows=search_rows(1))
    sample = search_rows(1)[0].sample
    epoch = {"epoch": 1, "val_dice": 0.96875, "seconds": 2.0, "elapsed_seconds": 9.0}
    events = [
        {"event": "begin", "number": 0, "sample": sample, "attrs": {}},
        {"event": "leg", "number": 0},
        *(
            {"event": "epoch", "number": 0, "metrics": done.to_json(), "finished": done.epoch == 3, "failure": None}
            for done in search_rows(1)[0].epochs
        ),
        {"event": "begin", "number": 1, "sample": sample, "attrs": {}},
        {"event": "leg", "number": 1},
        {"event": "epoch", "number": 1, "metrics": epoch, "finished": False, "failure": None},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    write_experiment(tmp_path, "b")
    tables = tables_of(tmp_path, "a", "b")
    assert cells(tables["scores"])["best validation Dice"][0] == "0.9688 (t001, epoch 1)"
    assert cells(tables["budget"])["epochs"][0] == "4"
    assert cells(tables["budget"])["trials ended"][0] == "1 of 6"
    assert "a: 1 more trial(s) have not ended yet; their epochs are included." in tables["budget"].notes


# --- the command ---


def shown(tables, width) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    print_tables(tables, console)
    return console.export_text().splitlines()


def test_print_tables_breaks_wide_tables_and_loses_nothing():
    header = tuple(f"experiment-{i}" for i in range(7))
    rows = (("depth", *"1234567"), ("searcher", *(f"searcher-{i}" for i in range(7))))
    table = Table(id="x", title="Title", header=header, rows=rows, notes=("[red]note[/red]",))
    lines = shown([table], 60)
    assert max(map(len, lines)) <= 60
    text = "\n".join(lines)
    assert all(f" {name}" in text for name in header)
    assert all(f"searcher-{i}" in text for i in range(7))
    assert sum(line.startswith("depth") for line in lines) == 3
    assert "[red]note[/red]" in text
    assert sum(line.startswith("depth") for line in shown([table], 200)) == 1


def test_print_tables_wraps_long_cells():
    name = "n" * 100
    lines = shown([Table(id="x", title="T", header=(name, name), rows=(("key", "v", "w"),))], 40)
    assert max(map(len, lines)) <= 40
    assert "".join(lines).replace(" ", "").count("n") == 200


def test_command_prints_and_writes_a_page(two, capsys):
    assert main(["a", "b", "--out", str(two)]) == 0
    out = capsys.readouterr().out
    assert "searcher" in out
    assert out.splitlines()[-1] == f"Page        {two / 'compare-a-b.html'}"
    assert (two / "compare-a-b.html").read_text().startswith("<!doctype html>")
    assert main(["b", "a", "--out", str(two), "--html", str(two / "deep/page.html")]) == 0
    assert (two / "deep/page.html").exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "c"], "there is no experiment 'c' in {out}; there are: a, b"),
        (["a", "../a"], "there is no experiment '../a' in {out}; there are: a, b"),
        (["a"], "a comparison needs at least two experiments, not 1; there are: a, b"),
        (["a", "b", "a"], "'a' is named twice: name different experiments"),
    ],
)
def test_command_refuses_names(two, capsys, names, message):
    assert main([*names, "--out", str(two)]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {message.format(out=two)}\n"
    assert captured.out == ""
    assert list(two.glob("*.html")) == []


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"config": {"trials": 6}}'),
        ("trials.jsonl", "[1]\n"),
        ("best/metrics.json", "{"),
        ("best/metrics.json", '{"test": {}}'),
    ],
)
def test_command_names_what_is_damaged(two, capsys, file, content):
    (two / "a" / file).write_text(content)
    assert main(["a", "b", "--out", str(two)]) == 2
    captured = capsys.readouterr()
    assert str(two / "a") in captured.err
    assert captured.out == ""


def test_default_name_fits_a_file_system():
    assert default_name(["a", "b"]) == "compare-a-b.html"
    names = [letter * 100 for letter in "abc"]
    assert default_name(names) == f"compare-{'a' * 100}-and-2-more.html"
