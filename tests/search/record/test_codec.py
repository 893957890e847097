"""From JSON to dataclasses and back: what is written is read, and what is wrong is named."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from data.errors import UserError
from search.record.codec import check_version, from_json, to_json, without_nan
from search.record.trials import State


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    number: int
    inner: Inner
    state: State = State.COMPLETE
    unit: Literal["mm", "pixels"] | None = None
    value: float | bool = 0.0
    by_epoch: Mapping[int, float] = field(default_factory=dict)
    anything: dict[str, Any] = field(default_factory=dict)


WHOLE = Outer(
    number=3,
    inner=Inner(share=0.5, names=("a", "b")),
    state=State.PRUNED,
    unit="mm",
    value=True,
    by_epoch={1: 0.25, 10: 0.5},
    anything={"depth": 3, "norm": "batch"},
)


DEFAULTS = Outer(number=0, inner=Inner(share=math.nan))
UNDECODED = Outer(number=0, inner=Inner(share=0.5, names=("T\udcfcmor",)), anything={"\udcfc": 1})
"""A record with the name of a file that is not UTF-8, as Python holds it."""


@pytest.mark.parametrize("record", [WHOLE, DEFAULTS, UNDECODED], ids=["whole", "defaults", "not UTF-8"])
def test_record_that_was_written_is_read(record):
    assert from_json(Outer, json.loads(json.dumps(to_json(record))), "file") == record
    assert from_json(Outer, json.loads(json.dumps(without_nan(to_json(record)), allow_nan=False)), "file") == record


def test_missing_keys_have_their_defaults_and_unknown_ones_are_ignored():
    values = {"number": 1, "inner": {"share": 1, "later": None}, "later": [1]}
    assert from_json(Outer, values, "file") == Outer(number=1, inner=Inner(share=1.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": None}, "file: number is None, but must be a whole number"),
        ({"number": 1.5}, "file: number is 1.5, but must be a whole number"),
        ({"number": True}, "file: number is True, but must be a whole number"),
        ({"number": 10**400}, f"file: number is 1{79 * '0'}..., but must be a whole number of at most 64 bits"),
        ({"inner": {}}, "file: inner.share is missing"),
        ({"inner": [1]}, "file: inner is [1], but must be a JSON object"),
        ({"inner": {"share": "much"}}, "file: inner.share is 'much', but must be a number"),
        ({"inner": {"share": 0.5, "names": "ab"}}, "file: inner.names is 'ab', but must be a list"),
        ({"inner": {"share": 0.5, "names": ["a", 3]}}, "file: inner.names[1] is 3, but must be text"),
        ({"state": "WELL"}, "file: state is 'WELL', but must be 'COMPLETE', 'PRUNED' or 'FAILED'"),
        ({"unit": "cm"}, "file: unit is 'cm', but must be 'mm' or 'pixels'"),
        ({"by_epoch": {"one": 0.5}}, "file: by_epoch.one is 'one', but must be a whole number"),
        ({"value": "x"}, "file: value is 'x', but must be a number or true or false"),
        ({"by_epoch": {"1": "x"}}, "file: by_epoch.1 is 'x', but must be a number"),
    ],
)
def test_value_of_the_wrong_type_is_named_with_what_is_legal(changes, message):
    with pytest.raises(UserError) as caught:
        from_json(Outer, to_json(WHOLE) | changes, "file")
    assert str(caught.value) == message


@pytest.mark.parametrize("values", [None, [], "text", 3])
def test_what_is_no_object_is_refused(values):
    with pytest.raises(UserError, match=r"^file is .*, but must be a JSON object$"):
        from_json(Outer, values, "file")


@pytest.mark.parametrize("values", [{}, {"version": 1}, {"version": 2}])
def test_versions_up_to_the_newest_are_read(values):
    check_version(values, 2, "file")


def test_newer_version_is_refused_by_name():
    with pytest.raises(UserError) as caught:
        check_version({"version": 3}, 2, "runs/x/config.json")
    assert str(caught.value) == (
        "runs/x/config.json was written by a newer version of this program: it has format 3, and this one reads "
        "formats 1 to 2. Upgrade this program, or use the one that wrote it"
    )


@pytest.mark.parametrize("version", [0, -1, "2", 1.5, None, True])
def test_version_that_is_no_number_is_refused(version):
    with pytest.raises(UserError, match=r"^file: version is .*, but must be a whole number from 1 on$"):
        check_version({"version": version}, 2, "file")


def test_without_nan_replaces_it_at_any_depth():
    value = {"a": math.nan, "b": [1.5, -math.inf, {"c": math.inf}], "d": "nan", "e": None, "f": 3, "g": True}
    assert without_nan(value) == {"a": None, "b": [1.5, None, {"c": None}], "d": "nan", "e": None, "f": 3, "g": True}
