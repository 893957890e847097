"""The split: by patient, disjoint, and stable when patients are added."""

import pytest

from data.errors import DataError
from data.split import in_hash_order, split_patients

SEEDS = range(200)


def ids(count):
    return [f"TCGA_{number:04d}" for number in range(count)]


def side_of(split):
    return {patient: side for side in ("train", "val", "test") for patient in getattr(split, side)}


@pytest.mark.parametrize("count", [3, 4, 5, 20])
def test_split_never_shares_or_loses_a_patient(count):
    for seed in SEEDS:
        split = split_patients(ids(count), seed=seed)
        assert sorted(split.train + split.val + split.test) == ids(count)
        assert split.train
        assert split.val
        assert split.test
        assert all(tuple(sorted(side)) == side for side in (split.train, split.val, split.test))


def test_split_never_moves_a_patient_when_others_are_added():
    for seed in SEEDS:
        before, after = side_of(split_patients(ids(60), seed=seed)), side_of(split_patients(ids(90), seed=seed))
        assert all(after[patient] == side for patient, side in before.items())


def test_split_moves_only_patients_that_filled_an_empty_side():
    for seed in SEEDS:
        before, after = side_of(split_patients(ids(3), seed=seed)), side_of(split_patients(ids(60), seed=seed))
        assert sum(after[patient] != side for patient, side in before.items()) <= 2


def test_split_does_not_depend_on_the_order_of_the_ids():
    assert split_patients(reversed(ids(20)), seed=1) == split_patients(ids(20), seed=1)


def test_split_has_about_the_given_fractions():
    split = split_patients(ids(2000), seed=0, val_fraction=0.1, test_fraction=0.3)
    # Four standard deviations of a binomial count.
    assert abs(len(split.val) - 200) < 54
    assert abs(len(split.test) - 600) < 82


def test_split_fills_an_empty_side_with_the_nearest_spare_patient():
    # By `printf 7607:0:a | sha256sum` and so on: a 0.70, b 0.33, d 0.55, e 0.73, i 0.50, m 0.58. Validation (0.2 to
    # 0.4) has b; nobody is below 0.2. b is nearest to it, but is validation's only one; i is next.
    split = split_patients("abdeim", seed=0)
    assert (split.train, split.val, split.test) == (("a", "d", "e", "m"), ("b",), ("i",))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_split_refuses_fewer_than_three_patients(count):
    with pytest.raises(DataError, match=f"there are {count} patients, but there must be at least 3"):
        split_patients(ids(count), seed=0)


def test_split_refuses_an_id_twice():
    with pytest.raises(DataError, match="appear twice: TCGA_0001"):
        split_patients([*ids(4), "TCGA_0001"], seed=0)


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"val_fraction": 0.0}, r"val_fraction is 0\.0, but must be above 0"),
        ({"test_fraction": 1.0}, r"test_fraction is 1\.0, but must be .* below 1"),
        ({"test_fraction": float("nan")}, "test_fraction is nan"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, r"val_fraction \+ test_fraction is 1, but must be below 1"),
    ],
)
def test_split_refuses_illegal_fractions(fractions, message):
    with pytest.raises(DataError, match=message):
        split_patients(ids(10), seed=0, **fractions)


def test_in_hash_order_depends_on_the_seed_and_not_on_the_given_order():
    ids = [f"P{number}" for number in range(12)]
    found = in_hash_order(ids, seed=0)
    assert sorted(found) == sorted(ids)
    assert found == in_hash_order(reversed(ids), seed=0)
    assert found != in_hash_order(ids, seed=1)
    assert [one for one in found if one != "P3"] == in_hash_order([one for one in ids if one != "P3"], seed=0)
