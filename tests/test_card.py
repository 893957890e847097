"""The model card and the last lines on the screen: every number where a person looks for it."""

import io
import math

from fakes import metrics_record, run_record, trial_row
from rich.console import Console

from search.card import format_interval, write_card
from search.summary import print_summary
from search.trials import State

ROWS = [trial_row(0, [0.25], state=State.PRUNED), trial_row(1, [0.5, 0.75]), trial_row(2, [], state=State.FAILED)]


def make_card(**changes) -> str:
    return write_card(run_record() | changes, metrics_record(), ROWS, ROWS[1])


def test_format_interval_by_hand():
    assert format_interval({"low": 0.5, "high": 2 / 3}) == "0.5000 to 0.6667"
    assert format_interval({"low": math.nan, "high": math.nan}) == "-"


def test_card_has_a_line_of_scores_for_every_metric():
    card = make_card()
    assert "## Scores on 2 test patients" in card
    assert "| dice | 0.8125 | 0.5000 to 0.8750 | 0.7500 |" in card
    assert "| iou | 0.2500 | - | 0.2500 |" in card
    assert all(f"| {name} | " in card for name in ("precision", "recall", "accuracy"))


def test_card_says_how_the_winner_was_found():
    card = " ".join(make_card().split())
    assert "3 trials (1 COMPLETE, 1 PRUNED, 1 FAILED)" in card
    assert "the winner is t001" in card
    assert "(0.6875 when its checkpoint was scored again, 0.7500 during training)" in card
    assert "| learning_rate | 0.002 |" in card


def test_card_says_what_the_model_was_made_of():
    card = " ".join(make_card().split())
    assert "kaggle_3m: 6 patients, split by patient with seed 7: 3 train, 1 validation, 2 test." in card
    assert "Fingerprint 0123456789abcdef." in card
    assert "python -m search.tune --data kaggle_3m" in card
    assert "Commit c0ffee; torch 1.2.3, ray 4.5.6, optuna 7.8.9." in card
    assert "Commit unknown;" in " ".join(make_card(commit=None).split())


def test_card_says_what_was_left_out():
    assert "Left out" not in make_card()
    card = make_card(data=run_record()["data"] | {"skipped": ["A_1.tif: is empty", "A_2.tif: is empty"]})
    assert "2 test. Left out, as files that cannot be used: 2; config.json of the search names each." in card


def test_card_warns_and_leaves_no_gap():
    card = make_card()
    assert "Not a medical device" in card
    assert "{" not in card
    assert "}" not in card


def test_summary_says_who_won_how_good_it_is_and_where_it_lies(tmp_path):
    screen = io.StringIO()
    print_summary(tmp_path, ROWS, metrics_record(), Console(file=screen, width=40))
    lines = screen.getvalue().splitlines()
    assert "3 trials (1 COMPLETE, 1 PRUNED, 1 FAILED), 3 epochs" in lines
    assert "Winner      t001 at epoch 2: learning_rate 0.002, depth 3, dropout 0.1, bce_weight 0.5" in lines
    assert (
        "Test Dice   0.8125 (95 % interval 0.5000 to 0.8750, median 0.7500), 2 patients that the search never saw"
    ) in lines
    assert (
        f"Model       {tmp_path}/best/model.onnx (differs from the network by at most 2e-06 in probability)"
    ) in lines
    for path in ("best/card.md", "best/metrics.json", "report.html", "trials.jsonl"):
        assert any(line.endswith(f"{tmp_path}/{path}") for line in lines)
