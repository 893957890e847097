"""Files that say on which side of the split patients are."""

import json

import pytest

from data.errors import DataError, UserError
from data.splitting.options import SplitOptions
from data.splitting.split import SIDES, Member, Side
from data.splitting.split_file import match_persons, read_split_file

IDS = tuple("abcdef")
SPLIT: dict[str, Side] = {"a": "train", "b": "train", "c": "train", "d": "val", "e": "test", "f": "test"}
BY_SIDE = {"train": ["a", "b", "c"], "val": ["d"], "test": ["e", "f"]}
FOLDS = [{"train": [i for i in IDS if i not in val], "val": list(val)} for val in ("ab", "cd", "ef")]


def written(tmp_path, text):
    path = tmp_path / "split"
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


FILES = {
    "lists": BY_SIDE,
    "ids": SPLIT,
    "other names of sides": {"training": ["a", "b", "c"], "Validation": ["d"], "TEST": ["e", "f"]},
    "an experiment's config.json": {"data": {"source": "x", "split": BY_SIDE}},
    "comma": "id,split\na,train\nb,train\nc,train\nd,val\ne,test\nf,test\n",
    "semicolon, more columns": "age;Patient;Set\n" + "".join(f"7;{i};{side}\n" for i, side in SPLIT.items()),
    "no header": "".join(f"{i},{side}\n" for i, side in SPLIT.items()),
    "suffixes": {f"{i}.nii.gz": side for i, side in SPLIT.items()},
    "byte-order mark": "\ufeff" + json.dumps(SPLIT),
}


@pytest.mark.parametrize("name", FILES)
def test_read_split_file_understands(tmp_path, name):
    assert read_split_file(written(tmp_path, FILES[name])) == SPLIT


@pytest.mark.parametrize(
    "content", [FOLDS, {i: n // 2 for n, i in enumerate(IDS)}, "id,fold\na,0\nb,0\nc,1\nd,1\ne,2\nf,2\n"]
)
def test_read_split_file_tests_on_one_fold_and_validates_on_the_next(tmp_path, content):
    path = written(tmp_path, content)
    found = read_split_file(path)
    assert found == {"a": "test", "b": "test", "c": "val", "d": "val", "e": "train", "f": "train"}
    assert {i: side for i, side in read_split_file(path, fold=2).items() if side != "train"} == {
        "e": "test",
        "f": "test",
        "a": "val",
        "b": "val",
    }


def test_read_split_file_takes_one_fold_of_nnunet_as_it_is(tmp_path):
    found = read_split_file(written(tmp_path, FOLDS[:1]))
    assert found == {"a": "val", "b": "val", "c": "train", "d": "train", "e": "train", "f": "train"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "names no patient"),
        ({}, "names no patient"),
        ("[1", "is not understood"),
        ([1, 2, 3], "is not understood"),
        ({"a": "left"}, r"is not understood \(a side is called left\)"),
        ("id,split\na,train\na,test\n", r"\(a is both train and test\)"),
        ("name,age\na,7\n", r"\(its columns are name, age\)"),
        ({"a": 0, "b": 1}, r"\(it has 2 folds, but must have at least 3"),
        ({"a": 1, "b": 2, "c": 3}, r"\(it has the folds 1, 2, 3, but split_fold is 0\)"),
        ("[" * 100_000, "is not understood"),
    ],
)
def test_read_split_file_says_what_it_does_not_understand(tmp_path, content, message):
    with pytest.raises(DataError, match=rf"^--split .*{message}"):
        read_split_file(written(tmp_path, content))


def test_read_split_file_refuses_a_file_that_is_missing_or_large(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read"):
        read_split_file(tmp_path / "none")
    with pytest.raises(DataError, match=r"cannot be read"):
        read_split_file(tmp_path)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(2**26 + 1)
    with pytest.raises(DataError, match=r"has 67108865 bytes, but at most 67108864 are read"):
        read_split_file(large)


VISITS = [Member(id=f"{person}-{visit}", person=person) for person in "abcdef" for visit in (1, 2)]


def test_match_persons_by_patient_or_person():
    by_patient: dict[str, Side] = {f"{i}-1": side for i, side in SPLIT.items()}
    for names in (SPLIT, by_patient):
        assert match_persons(names, VISITS) == (SPLIT, ())


def test_match_persons_names_who_is_missing_on_either_side():
    found, notes = match_persons({"a": "train", "x": "test"}, VISITS)
    assert found == {"a": "train"}
    assert notes == (
        "--split names 1 patient(s) that the data does not have: x",
        "--split does not name 10 patient(s), which fill up the sides: b-1, b-2, c-1, c-2, d-1 and 5 more",
    )


def test_match_persons_refuses_visits_on_two_sides():
    with pytest.raises(DataError, match=r"visits of 1 person.*such as a-1 on train and a-2 on test, both of a"):
        match_persons({"a-1": "train", "a-2": "test"}, VISITS)


def test_match_persons_refuses_a_file_of_other_patients():
    with pytest.raises(DataError, match=r"^--split names x, but none of the patients: their ids are a-1, a-2"):
        match_persons({"x": "test"}, VISITS)


def test_options_apply_the_file_and_fill_up_the_rest(tmp_path):
    path = written(tmp_path, {"a": "test", "b": "val"})
    split, notes = SplitOptions(split=str(path)).apply(VISITS, seed=0)
    assert split.test == ("a-1", "a-2")
    assert split.val == ("b-1", "b-2")
    assert len(split.train) == 8
    assert len(notes) == 1
    without, _ = SplitOptions().apply(VISITS, seed=0)
    assert {side: len(getattr(without, side)) for side in SIDES} == {"train": 8, "val": 2, "test": 2}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "nowhere"}, "cannot be read"),
        ({"val_fraction": 1.0}, "val_fraction is 1.0"),
        ({"split_fold": -1}, "split_fold is -1"),
        ({"split_fold": 2}, "split_fold is 2, but there is no --split; name a file"),
    ],
)
def test_options_are_checked_before_any_work(options, message):
    with pytest.raises(UserError, match=message):
        SplitOptions(**options).check()
