"""Which pairs of experiments are tested, and what is said about the others."""

import json
import math

import numpy as np
import pytest

from data.preprocess import Preprocessing
from data.source import ReadingOptions
from search.compare.experiments import read_experiments
from search.compare.significance import MIN_PATIENTS, compare_pairs
from tests.search.compare.reference import enumerated_signed_rank_p, shifted, tables_of
from tests.support.experiments import DICES, SPLIT, write_experiment


def pairs_of(tmp_path, names):
    return compare_pairs(read_experiments(tmp_path, names))


def test_compare_two_pairs_the_patients_by_name(tmp_path):
    write_experiment(tmp_path, "a", dices=DICES)
    write_experiment(tmp_path, "b", dices=dict(reversed(shifted(-0.0625, 0.0, 0.125).items())))
    [pair] = pairs_of(tmp_path, ["a", "b"])
    found = pair.difference
    assert found
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
    assert pair.difference
    assert pair.difference.p_bootstrap > 0.05
    assert pair.verdict == "no difference shown"


def test_patient_without_a_dice_in_one_model_is_left_out(tmp_path):
    write_experiment(tmp_path, "a", dices=DICES | {"T0": None})
    write_experiment(tmp_path, "b", dices=shifted(0.125) | {"T1": math.nan})
    [pair] = pairs_of(tmp_path, ["a", "b"])
    assert pair.difference
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
    smallest = min(ps, key=lambda names: ps[names])
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
    assert pair.difference
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


def test_models_of_other_regions_are_not_tested(tmp_path):
    summary = {name: {"dice": {"mean": 0.5, "median": 0.5, "low": 0.25, "high": 0.75}} for name in ("WT", "ET")}
    write_experiment(tmp_path, "whole", dices=DICES)
    for name, texts in (("parts", ("WT=1,2,4", "ET=4")), ("others", ("WT=1,2,4", "ET=1"))):
        folder = write_experiment(
            tmp_path,
            name,
            dices=DICES,
            config={"reading": ReadingOptions(regions=texts)},
            metrics={"region_thresholds": {"WT": 0.25, "ET": 0.75}},
        )
        path = folder / "best" / "metrics.json"
        values = json.loads(path.read_text())
        values["test"]["by_region"] = summary
        path.write_text(json.dumps(values))
    assert [pair.reason for pair in pairs_of(tmp_path, ["whole", "parts", "others"])] == [
        "they segment different regions"
    ] * 3
    tables = tables_of(tmp_path, "whole", "parts")
    rows = {row[0]: row[1:] for name in ("scores", "winners") for row in tables[name].rows}
    assert rows["test Dice of ET"] == ("-", "0.5000")
    assert (rows["threshold"], rows["threshold of ET"]) == (("0.5", "-"), ("-", "0.75"))
    assert "segment different regions, so their Dice cannot be compared" in tables["scores"].notes[1]
