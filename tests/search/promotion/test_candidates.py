"""Candidates: the checkpoints are scored again, and a stated rule says which of them wins."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from data.atomic import write
from data.preprocess import Preprocessing
from model.settings import Settings
from search.promotion.candidates import NothingToPromote, rescore
from search.promotion.ranking import is_clear, is_worse, paired_gain, rank_candidates, with_ensemble
from search.record.epochs import EpochMetrics
from search.record.trials import State
from tests.support.fakes import constant_state, head_of, trial_row, write_lgg_patient
from tests.support.scans import scan_lgg as scan

EVERYTHING, NOTHING = 10.0, -10.0
"""Logits of a network that marks every pixel, or none."""

SETTINGS = Settings(preprocessing=Preprocessing(size=16), channel_names=("pre", "flair", "post"))

# Three slices of 16 x 16 and a tumour of 16 pixels: all 768 marked give 2 * 16 / (768 + 16).
DICE_OF_EVERYTHING = 32 / 784


def promote(rows, folder, patients, *, objectives=("val_dice",), dice_tolerance=0.0, ties="best"):
    """Return the candidates, the winner first."""
    rule = {"objectives": objectives, "dice_tolerance": dice_tolerance}
    candidates, passed_over = rescore(rows, folder, patients, settings=SETTINGS, num_candidates=3, **rule)
    assert passed_over == []
    return rank_candidates(candidates, ties=ties, **rule)


@pytest.fixture
def patients(tmp_path):
    for patient in "AB":
        write_lgg_patient(tmp_path / "patients", patient)
    return scan(tmp_path / "patients").patients


def make_row(folder, number, reported, bias, *, width=2, **changes):
    """Return the row of a trial that reported this Dice and left a network of this bias."""
    write(folder / f"{number}.pt", constant_state(bias, width=width).to_bytes())
    return trial_row(number, [0.0, reported], checkpoint=f"{number}.pt", **changes)


def test_promote_lets_the_rescored_winner_beat_the_reported_best(tmp_path, patients):
    rows = [make_row(tmp_path, 0, 0.9, NOTHING), make_row(tmp_path, 1, 0.5, EVERYTHING)]
    candidates = promote(rows, tmp_path, patients)
    assert [candidate.row.id for candidate in candidates] == ["t001", "t000"]
    assert candidates[0].dice == pytest.approx(DICE_OF_EVERYTHING)
    assert candidates[1].dice == 0
    assert [score.patient for score in candidates[0].scores] == ["A", "B"]
    bias = head_of(candidates[0].networks[0]).bias
    assert bias is not None
    assert bias.item() == EVERYTHING
    assert candidates[0].files == (tmp_path / "1.pt",)


def test_promote_scores_only_the_few_best(tmp_path, patients):
    rows = [make_row(tmp_path, number, number / 10, NOTHING) for number in range(1, 6)]
    rows.append(make_row(tmp_path, 0, 0.0, EVERYTHING))
    candidates = promote(rows, tmp_path, patients)
    assert [candidate.row.number for candidate in candidates] == [5, 4, 3]


def test_promote_among_equals_keeps_the_order_of_the_search(tmp_path, patients):
    rows = [make_row(tmp_path, number, dice, EVERYTHING) for number, dice in enumerate((0.4, 0.6, 0.6))]
    assert [candidate.row.number for candidate in promote(rows, tmp_path, patients)] == [1, 2, 0]


def test_promote_accepts_pruned_trials_and_those_that_failed_later(tmp_path, patients):
    rows = [
        make_row(tmp_path, 0, 0.5, EVERYTHING, state=State.PRUNED),
        make_row(tmp_path, 1, 0.6, NOTHING, state=State.FAILED, error="lost its workers"),
        trial_row(2, [0.9], state=State.FAILED, error="lost before its first checkpoint"),
    ]
    assert [candidate.row.number for candidate in promote(rows, tmp_path, patients)] == [0, 1]


def test_candidate_of_patients_without_tumour_or_prediction_has_dice_nan(tmp_path):
    write_lgg_patient(tmp_path / "healthy", "A", tumour_numbers=())
    rows = [make_row(tmp_path, 0, 0.9, NOTHING)]
    [candidate] = promote(rows, tmp_path, scan(tmp_path / "healthy").patients)
    assert math.isnan(candidate.dice)


def test_promote_says_why_there_is_nothing(tmp_path, patients):
    rows = [
        trial_row(0, [], state=State.FAILED, error="train_loss was nan in epoch 1"),
        trial_row(1, [], state=State.FAILED, error="RuntimeError: no memory\nTraceback of many lines"),
        trial_row(2, [], state=State.FAILED, error="train_loss was nan in epoch 1"),
        trial_row(3, [math.nan], state=State.PRUNED),
    ]
    with pytest.raises(NothingToPromote) as caught:
        promote(rows, tmp_path, patients)
    assert str(caught.value) == (
        "none of 4 trials left a checkpoint: RuntimeError: no memory; no epoch ended; train_loss was nan in epoch 1"
    )


def test_promote_of_no_trials_says_that_none_was_started(tmp_path, patients):
    with pytest.raises(NothingToPromote, match=r"^none of 0 trials left a checkpoint: none was started$"):
        promote([], tmp_path, patients)


def make_costly_row(folder, number, reported, latency, bias=EVERYTHING, parameters=1.0):
    network = {"seconds": 1.0, "latency_ms": latency, "million_parameters": parameters}
    epochs = [EpochMetrics(epoch=1, val_dice=0.0, **network), EpochMetrics(epoch=2, val_dice=reported, **network)]
    return make_row(folder, number, reported, bias, epochs=epochs)


@pytest.mark.parametrize(
    ("objectives", "tolerance", "order"),
    [
        (("val_dice", "latency_ms"), DICE_OF_EVERYTHING + 0.01, ["t001", "t000"]),
        (("val_dice", "latency_ms"), DICE_OF_EVERYTHING - 0.01, ["t000", "t001"]),
        (("val_dice", "latency_ms"), 0.0, ["t000", "t001"]),
        (("val_dice", "million_parameters"), 1.0, ["t000", "t001"]),
        (("val_dice",), 1.0, ["t000", "t001"]),
    ],
)
def test_promote_lets_the_cheaper_win_within_the_tolerance_of_the_rescored_best(
    tmp_path, patients, objectives, tolerance, order
):
    rows = [
        make_costly_row(tmp_path, 0, 0.5, latency=9.0, parameters=1.0),
        make_costly_row(tmp_path, 1, 0.5, latency=3.0, parameters=2.0, bias=NOTHING),
    ]
    candidates = promote(rows, tmp_path, patients, objectives=objectives, dice_tolerance=tolerance)
    assert [candidate.row.id for candidate in candidates] == order


def test_promote_rescores_the_best_and_the_cheapest_nearly_as_good(tmp_path, patients):
    reports = ((0.9, 9.0), (0.89, 2.0), (0.88, 5.0), (0.87, 3.0), (0.86, 4.0), (0.5, 1.0))
    rows = [make_costly_row(tmp_path, number, dice, latency) for number, (dice, latency) in enumerate(reports)]
    objectives = ("val_dice", "latency_ms")
    for tolerance, numbers in ((0.05, [1, 3, 0]), (0.025, [1, 2, 0]), (1.0, [5, 1, 0])):
        candidates = promote(rows, tmp_path, patients, objectives=objectives, dice_tolerance=tolerance)
        assert [candidate.row.number for candidate in candidates] == numbers, f"tolerance {tolerance}"


def test_promote_takes_no_cheap_candidate_whose_dice_is_nan(tmp_path):
    for patient in "AB":
        write_lgg_patient(tmp_path / "healthy", patient, tumour_numbers=())
    rows = [
        make_costly_row(tmp_path, 0, 0.5, latency=1.0, bias=NOTHING),
        make_costly_row(tmp_path, 1, 0.5, latency=2.0, bias=EVERYTHING),
    ]
    candidates = promote(
        rows,
        tmp_path,
        scan(tmp_path / "healthy").patients,
        objectives=("val_dice", "latency_ms"),
        dice_tolerance=1.0,
    )
    assert [candidate.row.number for candidate in candidates] == [1, 0]
    assert (candidates[0].dice, math.isnan(candidates[1].dice)) == (0.0, True)


def test_ties_go_to_the_smaller_network_unless_the_best_is_asked_for(tmp_path, patients):
    rows = [
        make_row(tmp_path, 0, 0.9, EVERYTHING, width=8),
        make_row(tmp_path, 1, 0.8, EVERYTHING, width=4),
        make_row(tmp_path, 2, 0.7, NOTHING, width=2),
    ]
    assert [one.name for one in promote(rows, tmp_path, patients, ties="smaller")] == ["t001", "t000", "t002"]
    assert [one.name for one in promote(rows, tmp_path, patients, ties="best")] == ["t000", "t001", "t002"]


def with_dices(candidate, *dices):
    scores = [replace(one, dice=dice) for one, dice in zip(candidate.scores, dices, strict=True)]
    return replace(candidate, scores=scores)


@pytest.mark.parametrize(
    ("default", "first", "second", "order"),
    [
        ((0.5, 0.5), (0.7, 0.71), (0.6, 0.6), ["t001", "t002", "t000"]),
        ((0.5, 0.5), (0.9, 0.5), (0.6, 0.6), ["t002", "t001", "t000"]),  # 0.2 with an error of 0.2
        ((0.5, 0.5), (0.6, 0.7), (0.4, 0.4), ["t000", "t001", "t002"]),  # p is 0.1, as two patients are few
        ((0.5, 0.5), (0.9, 0.5), (0.7, 0.4), ["t000", "t001", "t002"]),
        ((0.5, 0.5), (0.5, 0.4), (0.4, 0.4), ["t000", "t001", "t002"]),
    ],
)
def test_only_what_is_clearly_better_is_promoted_over_the_default(tmp_path, patients, default, first, second, order):
    """The default has the largest network, so without its privilege the smaller ones would win a tie."""
    dices = {"t000": default, "t001": first, "t002": second}
    rows = [make_row(tmp_path, number, 0.5, EVERYTHING, width=8 >> number) for number in range(3)]
    found = [with_dices(one, *dices[one.name]) for one in promote(rows, tmp_path, patients)]
    rule = {"objectives": ("val_dice",), "dice_tolerance": 0.0, "ties": "smaller", "default_trial": 0}
    assert [one.name for one in rank_candidates(found, **rule)] == order
    if order[0] == "t001":  # p is 0.008
        assert [one.name for one in rank_candidates(found, **rule, num_compared=30)] == ["t002", "t001", "t000"]


@pytest.mark.parametrize(
    ("before", "after", "num_compared", "expected"),
    [
        ([0.5] * 4, [0.5, 0.6, 0.6, 0.7], 4, True),  # t = 0.1 / 0.0408 = 2.449 and p = 0.0459
        ([0.5] * 4, [0.5, 0.6, 0.6, 0.7], 5, False),
        ([0.5] * 4, [0.4, 0.3, 0.3, 0.4], 1, False),
        ([0.5, 0.5], [0.6, 0.6], 99, True),
        ([0.5, 0.5], [0.5, 0.5], 1, False),
        ([0.5], [0.9], 1, False),
        ([math.nan], [math.nan], 1, False),
    ],
)
def test_clear_gains_by_hand(before, after, num_compared, expected):
    assert is_clear(before, after, num_compared=num_compared) is expected


def test_the_best_of_equal_configurations_is_seldom_clearly_better():
    rng = np.random.default_rng(0)

    def is_fooled() -> bool:
        gains = rng.normal(0, 0.1, (15, 5))
        return any(is_clear([0.5] * 5, (0.5 + one).tolist(), num_compared=15) for one in gains)

    assert np.mean([is_fooled() for _ in range(400)]) == pytest.approx(0.18, abs=0.06)


def test_rescore_always_includes_the_default(tmp_path, patients):
    rows = [make_row(tmp_path, number, number / 10, NOTHING) for number in range(1, 9)]
    rows.append(make_row(tmp_path, 0, 0.05, NOTHING))
    found, _ = rescore(rows, tmp_path, patients, settings=SETTINGS, num_candidates=2, default_trial=0)
    assert [one.name for one in found] == ["t008", "t007", "t000"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([0.5, 0.7], [0.6, 0.9], (0.15, 0.05)),
        ([0.5, math.nan, 0.7], [0.6, math.nan, 0.9], (0.15, 0.05)),
        ([0.5, math.nan], [0.7, 0.0], (-0.4, 0.6)),  # something is marked in a patient without tumour
        ([0.5, 0.0], [0.5, math.nan], (0.5, 0.5)),
        ([0.5], [0.7], (0.2, 0.0)),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], (0.0, 0.0)),
    ],
)
def test_paired_gain_by_hand(before, after, expected):
    assert paired_gain(before, after) == pytest.approx(expected)


def test_paired_gain_without_patients_is_nan():
    gain, error = paired_gain([math.nan], [math.nan])
    assert math.isnan(gain)
    assert error == 0


def test_is_worse_requires_a_standard_error_of_the_difference(tmp_path, patients):
    [best] = promote([make_row(tmp_path, 0, 0.9, EVERYTHING)], tmp_path, patients)

    assert not is_worse(best, best)
    high = with_dices(best, 0.8, 0.6)
    assert is_worse(with_dices(best, 0.7, 0.5), high)  # 0.1 on both: no doubt
    assert is_worse(with_dices(best, 0.6, 0.6), high)  # 0.2 and 0: a mean of 0.1 with an error of 0.1
    assert not is_worse(with_dices(best, 0.5, 0.62), high)  # 0.3 and -0.02: a mean of 0.14 with an error of 0.16
    assert not is_worse(high, with_dices(best, 0.7, 0.5))


def test_ensemble_leads_only_where_it_is_better_than_its_best_member(tmp_path, patients):
    rows = [make_row(tmp_path, 0, 0.9, EVERYTHING), make_row(tmp_path, 1, 0.5, NOTHING)]
    candidates = promote(rows, tmp_path, patients)
    assert with_ensemble(candidates, 2, patients, SETTINGS) == candidates  # their mean marks every pixel, too
    worse = [replace(one, scores=[replace(score, dice=0.01) for score in one.scores]) for one in candidates]
    ensemble, *rest = with_ensemble(worse, 2, patients, SETTINGS)
    assert (ensemble.name, len(ensemble.networks), rest) == ("t000+t001", 2, worse)
    assert ensemble.dice == pytest.approx(DICE_OF_EVERYTHING)
    assert ensemble.num_parameters == sum(one.num_parameters for one in worse)


def test_rescore_skips_and_reports_unreadable_checkpoints(tmp_path, patients):
    rows = [make_row(tmp_path, 0, 0.9, EVERYTHING), make_row(tmp_path, 1, 0.5, NOTHING)]
    (tmp_path / "0.pt").write_bytes(b"cut off")
    [left], [problem] = rescore(rows, tmp_path, patients, settings=SETTINGS, num_candidates=3)
    assert left.name == "t001"
    assert re.match(r"t000 is skipped: .*0\.pt cannot be read as a checkpoint", problem)


def test_rescore_includes_the_best_dice_with_several_objectives(tmp_path, patients):
    rows = [make_costly_row(tmp_path, 0, 0.900, latency=50.0), make_costly_row(tmp_path, 1, 0.895, latency=5.0)]
    rule = {"objectives": ("val_dice", "latency_ms"), "dice_tolerance": 0.01}
    found, _ = rescore(rows, tmp_path, patients, settings=SETTINGS, num_candidates=1, **rule)
    assert rank_candidates(found, ties="smaller", **rule)[0].name == "t001"
