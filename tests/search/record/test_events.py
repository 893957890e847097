"""The log of events: every kind survives the disk, and a line that is none is named."""

import json

import pytest

from data.errors import UserError
from search.record.epochs import EpochMetrics
from search.record.events import NAMES, Begin, Ended, EpochEnded, GivenUp, LegStarted, Lost, append_event, read_events

SAMPLE = {"learning_rate": 0.001, "depth": 4, "norm": "batch"}
EVENTS = [
    Begin(number=0, sample=SAMPLE, attrs={"trial": {"tpe:relative_params:0": '{"depth": 4}'}}),
    LegStarted(number=0),
    EpochEnded(number=0, metrics=EpochMetrics(epoch=1, val_dice=0.5, seconds=2.0), finished=False, failure=None),
    Lost(number=0, error="The actor died.\nIts pid was 3."),
    EpochEnded(number=0, metrics=EpochMetrics(epoch=0, elapsed_seconds=3.0), finished=True, failure="raised"),
    GivenUp(number=0, reason="its checkpoints made room"),
    GivenUp(number=0, reason=None),
    Ended(number=0),
]
OLD = """\
{"event": "begin", "number": 0, "sample": {"depth": 4, "dropout": 0.25}, "attrs": {}}
{"event": "leg", "number": 0}
{"event": "epoch", "number": 0, "metrics": {"epoch": 1, "val_dice": 0.5}, "finished": false, "failure": null}
{"event": "lost", "number": 0, "error": "a worker is gone"}
{"event": "give_up", "number": 0, "reason": null}
{"event": "end", "number": 0}
"""
"""A log as the first version wrote it."""


def test_events_that_were_appended_are_read(tmp_path):
    for event in EVENTS:
        append_event(tmp_path / "events.jsonl", event)
    assert read_events(tmp_path / "events.jsonl") == EVENTS
    assert {type(event) for event in EVENTS} == set(NAMES)


def test_old_log_is_read_and_written_as_it_was(tmp_path):
    (tmp_path / "old.jsonl").write_text(OLD)
    for event in read_events(tmp_path / "old.jsonl"):
        append_event(tmp_path / "new.jsonl", event)
    assert (tmp_path / "new.jsonl").read_text() == OLD


def test_no_log_has_no_events(tmp_path):
    assert read_events(tmp_path / "events.jsonl") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"event": "dance"}, "line 2 has an event that this version does not know: 'dance'; legal are begin, leg, "),
        ({"number": 0}, "line 2 has an event that this version does not know: None"),
        ({"event": "leg"}, "line 2: number is missing"),
        ({"event": "lost", "number": 0, "error": 3}, "line 2: error is 3, but must be text"),
        (
            {"event": "epoch", "number": 0, "metrics": {}, "finished": True, "failure": None},
            "line 2: metrics.epoch is missing",
        ),
        ({"event": "leg", "number": 0, "version": 2}, "line 2 was written by a newer version of this program"),
    ],
)
def test_line_that_is_no_event_is_named(tmp_path, line, message):
    log = tmp_path / "events.jsonl"
    append_event(log, EVENTS[0])
    with log.open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(UserError) as caught:
        read_events(log)
    assert str(caught.value).startswith(f"{log}, {message}")
