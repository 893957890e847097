"""The metrics of an epoch: nothing is lost on disk, and what was not measured is not written."""

import json
import math
import random
from dataclasses import fields

import pytest

from data.errors import UserError
from search.record.epochs import EpochMetrics

OLD = {
    "epoch": 1,
    "train_loss": 0.75,
    "val_dice": 0.5,
    "val_iou": 0.375,
    "val_precision": math.nan,
    "val_recall": 0.0,
    "val_accuracy": 0.96875,
    "learning_rate": 0.001,
    "seconds": 4.5,
    "val_seconds": 0.25,
    "waiting_seconds": 0.125,
    "million_parameters": 1.942577,
    "peak_memory_mb": 697.5,
    "elapsed_seconds": 15.625,
}
"""An epoch as the first version wrote it: of a phantom, with a precision that is not defined."""


def random_metrics(seed: int) -> EpochMetrics:
    """Return metrics of which some were not measured, some are nan, and some have names of their own."""
    rng = random.Random(seed)
    names = [one.name for one in fields(EpochMetrics) if one.name not in ("epoch", "others")]
    values = {name: rng.choice([rng.random(), rng.random(), math.nan]) for name in names if rng.random() < 0.7}
    others = {f"metric_{i}": rng.random() for i in range(rng.randrange(3))}
    return EpochMetrics.from_json({"epoch": rng.randrange(100), **values, **others})


@pytest.mark.parametrize("seed", range(20))
def test_metrics_that_were_written_are_read(seed):
    metrics = random_metrics(seed)
    assert EpochMetrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics


def test_old_epoch_is_read_and_written_as_it_was():
    metrics = EpochMetrics.from_json(OLD)
    assert (metrics.val_dice, metrics.seconds, metrics.latency_ms, metrics.others) == (0.5, 4.5, None, {})
    assert str(metrics.val_precision) == "nan"
    assert json.dumps(metrics.to_json()) == json.dumps(OLD)


def test_metrics_of_other_names_have_a_place():
    metrics = EpochMetrics.from_json({"epoch": 2, "energy_joules": 3.5})
    assert (metrics.value("energy_joules"), metrics.value("latency_ms"), metrics.value("unheard_of")) == (
        3.5,
        None,
        None,
    )
    assert metrics.to_json() == {"epoch": 2, "energy_joules": 3.5}


def test_epoch_without_a_finite_dice_has_none():
    assert [EpochMetrics(epoch=1, val_dice=dice).has_dice for dice in (0.0, math.nan, math.inf)] == [True, False, False]
    assert not EpochMetrics(epoch=1).has_dice


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "line 3: epoch is missing"),
        ({"epoch": 1.0}, "line 3: epoch is 1.0, but must be a whole number"),
        ({"epoch": 1, "val_dice": None}, "line 3: val_dice is None, but must be a number"),
        ({"epoch": 1, "note": "good"}, "line 3: note is 'good', but must be a number"),
    ],
)
def test_metrics_that_are_no_numbers_are_refused(values, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        EpochMetrics.from_json(values, "line 3")
