"""The description of a checkpoint is read as it was written, and one that is damaged is refused by its name."""

import json

import pytest

from data.errors import UserError
from search.record.checkpoint_record import CheckpointRecord
from search.record.epochs import EpochMetrics

EPOCHS = (EpochMetrics(epoch=1, val_dice=0.5), EpochMetrics(epoch=2, val_dice=0.75, others={"val_dice_WT": 0.5}))


@pytest.mark.parametrize(
    "record",
    [
        CheckpointRecord(metrics=EPOCHS[1], history=EPOCHS),
        CheckpointRecord(metrics=EpochMetrics(epoch=2), num_batches=3, history=EPOCHS),
        CheckpointRecord(metrics=EPOCHS[0], finished=True, failure="train_loss was nan"),
    ],
    ids=["epoch", "halted", "finished"],
)
def test_record_that_was_written_is_read(record):
    assert CheckpointRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "metrics.json is [], but must be a JSON object"),
        ({}, "metrics.json: metrics.epoch is missing"),
        ({"epoch": 1, "num_batches": "3"}, "metrics.json: num_batches is '3', but must be a whole number"),
        ({"epoch": 1, "history": {"epoch": 1}}, "metrics.json: history is {'epoch': 1}, but must be a list"),
        ({"epoch": 1, "history": [{}]}, "metrics.json: history[0].epoch is missing"),
        ({"epoch": 1, "finished": "no"}, "metrics.json: finished is 'no', but must be true or false"),
    ],
)
def test_damaged_record_is_refused_by_its_name(values, message):
    with pytest.raises(UserError) as caught:
        CheckpointRecord.from_json(values, "metrics.json")
    assert str(caught.value) == message
