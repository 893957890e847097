"""What the driver, a lane and its workers send each other, and how Ray Tune takes it."""

import json
import math
import pickle
from types import SimpleNamespace

import pytest
from ray.tune.experiment import Trial

from search.cluster.group.lane import Lane
from search.cluster.group.messages import LEG, LaneReport, LegConfig, Report, find_report
from search.record.epochs import EpochMetrics

LEG_0 = LegConfig(number=0, sample={"depth": 3}, folder="t000-1", checkpoint=None, best_dice=-math.inf)
REPORT_2 = LaneReport(metrics=EpochMetrics(epoch=2, val_dice=0.5), finished=True, slices=b"packed")


def test_report_travels_in_a_result_with_what_tune_requires():
    result = pickle.loads(pickle.dumps(REPORT_2.to_result()))
    assert (result["val_dice"], result["done"]) == (0.5, True)
    assert find_report(result) == REPORT_2
    assert find_report({}) is None, "no epoch has ended"


def test_tune_can_save_a_trial_with_a_leg_and_a_report():
    trial = Trial("lane", config={LEG: LEG_0}, stub=True, _setup_default_resource=False)
    trial.update_last_result(REPORT_2.to_result() | {"training_iteration": 1})
    state, metadata = trial.get_json_state()
    assert json.loads(state)["config"].keys() == {LEG}
    assert json.loads(metadata)["last_result"]["val_dice"] == 0.5


@pytest.mark.parametrize("wants_slices", [False, True])
def test_lane_reports_an_epoch_whose_slices_cannot_be_predicted(wants_slices):
    lane, group = Lane.__new__(Lane), SimpleNamespace(changed=(), slices=lambda *, timeout_seconds: None)
    vars(lane).update(_group=group, _wants_slices=wants_slices, _best_dice=0.1, _history=[], _slowest_seconds=None)
    report = lane._reported(Report(metrics={"epoch": 1, "val_dice": 0.5}, finished=False, failure=None))
    assert report == LaneReport(metrics=EpochMetrics(epoch=1, val_dice=0.5), finished=False)


def test_lane_keeps_an_epoch_once_if_a_resumed_training_was_over():
    last = EpochMetrics(epoch=2, val_dice=0.5)
    lane = Lane.__new__(Lane)
    vars(lane).update(_group=None, _best_dice=0.9, _history=[EpochMetrics(epoch=1, val_dice=0.25), last])
    lane._reported(Report(metrics=dict(last.to_json()), finished=True, failure=None))
    assert [epoch.epoch for epoch in lane._history] == [1, 2]
