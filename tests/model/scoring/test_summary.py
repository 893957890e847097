"""Means over patients: intervals that can be trusted, values worked by hand, and fair classes of patients."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from model.scoring.metrics import METRICS
from model.scoring.scores import MetricSummary, PatientScore
from model.scoring.summary import bootstrap_interval, by_group, by_lesion_size, finite_mean, summarise


def score(name: str, **changes: Any) -> PatientScore:
    found = PatientScore(
        patient=name,
        num_slices=1,
        dice=0.5,
        iou=0.5,
        precision=1.0,
        recall=0.5,
        accuracy=0.9,
        predicted_pixels=1,
        true_pixels=1,
        num_pixels=1000,
    )
    return replace(found, **changes)


@pytest.mark.parametrize("seed", range(10))
def test_bootstrap_interval_holds_the_mean_and_is_repeatable(seed):
    values = np.random.default_rng(seed).beta(8, 2, 22).tolist()
    interval = bootstrap_interval(values, seed=seed, num_resamples=500)
    assert interval.mean == pytest.approx(np.mean(values))
    assert interval.low < interval.mean < interval.high
    assert interval == bootstrap_interval(values, seed=seed, num_resamples=500)


def test_bootstrap_interval_covers_the_truth_as_often_as_its_level():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.beta(8, 2, 30).tolist(), seed=i, num_resamples=400) for i in range(200)]
    covered = np.mean([interval.low <= 0.8 <= interval.high for interval in intervals])
    assert 0.88 <= covered <= 0.99  # 0.95 but for 200 draws, and the bootstrap's known optimism with 30 values


def test_bootstrap_interval_is_near_the_normal_one_for_many_values():
    values = np.random.default_rng(0).normal(0.8, 0.1, 1000).tolist()
    interval = bootstrap_interval(values, num_resamples=2000)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.1 / math.sqrt(1000), rel=0.1)


def test_bootstrap_interval_leaves_nan_out():
    assert bootstrap_interval([0.5, math.nan, 0.7]) == bootstrap_interval([0.5, 0.7])


@pytest.mark.parametrize(("values", "mean"), [([], math.nan), ([math.nan], math.nan), ([0.5, math.nan], 0.5)])
def test_bootstrap_interval_of_fewer_than_two_values_has_no_bounds(values, mean):
    interval = bootstrap_interval(values)
    assert interval.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_bootstrap_interval_refuses_an_illegal_level():
    with pytest.raises(ValueError, match=r"level 95.0, but must be .* in \(0, 1\)"):
        bootstrap_interval([0.1, 0.2], level=95.0)


def test_summarise_has_the_values_worked_by_hand():
    summary = summarise([score("A", dice=0.5), score("B", dice=0.9), score("C", dice=0.7), score("D", dice=math.nan)])
    dice = summary.by_metric["dice"]
    assert summary.num_patients == 4
    assert dice.mean == pytest.approx(0.7)
    assert dice.median == pytest.approx(0.7)
    assert 0.5 <= dice.low < 0.7 < dice.high <= 0.9
    assert summary.by_metric["precision"] == MetricSummary(mean=1.0, median=1.0, low=1.0, high=1.0, num_patients=4)
    assert dice.num_patients == 3  # where it is defined
    assert "hd95" not in summary.by_metric  # nothing was measured
    assert summary.distance_unit is None


def test_summary_has_its_metrics_by_name():
    summary = summarise([score("A", hd95=2.0, assd=1.0, distance_unit="mm")])
    assert list(summary.by_metric) == [*METRICS, "hd95", "assd"]
    assert (summary.num_patients, summary.by_metric["hd95"].mean, summary.distance_unit) == (1, 2.0, "mm")
    assert list(summarise([score("A")]).by_metric) == list(METRICS)
    assert summary.dice == summary.by_metric["dice"]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.5, 2 / 3, "0.5000 to 0.6667"), (math.nan, math.nan, "-"), (0.5, math.inf, "-")],
)
def test_interval_of_a_metric_by_hand(low, high, text):
    assert MetricSummary(mean=0.5, low=low, high=high).interval == text


def test_summarise_without_patients_is_nan():
    summary = summarise([])
    dice = summary.by_metric["dice"]
    assert summary.num_patients == 0
    assert all(math.isnan(value) for value in (dice.mean, dice.median, dice.low, dice.high))


def test_summarise_has_distances_where_they_were_measured():
    near = replace(score("A", dice=0.5), hd95=2.0, assd=1.0, distance_unit="mm")
    far = replace(score("B", dice=0.5), hd95=4.0, assd=2.0, distance_unit="mm")
    missed = replace(score("C", dice=0.0), distance_unit="mm")
    summary = summarise([near, far, missed])
    assert (summary.by_metric["hd95"].mean, summary.by_metric["assd"].median) == (3, 1.5)
    assert (summary.by_metric["hd95"].num_patients, summary.num_patients) == (2, 3)
    assert summary.distance_unit == "mm"


def test_summarise_never_mixes_millimetres_and_pixels():
    known, unknown = replace(score("A", dice=0.5), hd95=2.0, distance_unit="mm"), score("B", dice=0.5)
    unknown = replace(unknown, hd95=40.0, distance_unit="pixels")
    assert summarise([unknown, known]).by_metric["hd95"].mean == 2
    assert summarise([unknown]).by_metric["hd95"].mean == 40
    assert summarise([unknown]).distance_unit == "pixels"


def test_by_lesion_size_takes_millilitres_where_all_are_known():
    sizes = {"A": 4.9, "B": 5.0, "C": 29.0, "D": 30.0, "E": 0.0}
    rows = by_lesion_size([score(name, true_ml=size) for name, size in sizes.items()])
    counts = [(row.name, row.num_patients) for row in rows]
    assert counts == [("no tumour", 1), ("below 5 ml", 1), ("5 to 30 ml", 2), ("from 30 ml on", 1)]


def test_by_lesion_size_takes_shares_where_a_spacing_is_unknown():
    unknown = [score(name, true_pixels=pixels) for name, pixels in (("B", 5), ("C", 15))]
    rows = by_lesion_size([score("A", true_ml=100.0, true_pixels=4), *unknown])
    assert [row.name for row in rows] == [
        "below 0.5 % of the scan",
        "0.5 to 1.5 % of the scan",
        "from 1.5 % of the scan on",
    ]


def test_by_lesion_size_leaves_out_a_class_without_patients_and_summarises_dice():
    small = score("A", true_ml=1.0)
    (row,) = by_lesion_size([small, replace(small, dice=0.7), replace(small, dice=math.nan)])
    assert (row.num_patients, row.dice.num_patients) == (3, 2)
    assert row.dice.mean == pytest.approx(0.6)


def test_by_group_is_in_the_order_of_names():
    rows = by_group([score("A", group="b"), score("B", group=""), score("C", group="b", dice=0.7)])
    assert [row.name for row in rows] == ["", "b"]
    assert rows[1].dice.mean == pytest.approx(0.6)


def test_finite_mean_leaves_out_what_is_undefined():
    assert finite_mean([0.5, math.nan, 1.0]) == 0.75
    assert math.isnan(finite_mean([math.nan, math.nan]))
    assert math.isnan(finite_mean([]))
