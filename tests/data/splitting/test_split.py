"""The split: by person, disjoint, of the right sizes, balanced, and nearly stable when patients are added."""

import numpy as np
import pytest

from data.errors import DataError
from data.splitting.split import SIDES, Member, Side, in_hash_order, split_patients

SEEDS = range(100)


def members(count, *, prefix="TCGA_", visits=1):
    return [
        Member(
            id=f"{prefix}{number:04d}-{visit}" if visits > 1 else f"{prefix}{number:04d}",
            person=f"{prefix}{number:04d}",
        )
        for number in range(count)
        for visit in range(visits)
    ]


def varied(count, seed):
    """Return members whose tumours differ in size by a factor of about ten, from five institutions."""
    rng = np.random.default_rng(seed)
    return [
        Member(
            id=f"S{seed}_{number}",
            person=f"S{seed}_{number}",
            group=str(rng.choice(list("ABCDE"), p=[0.35, 0.3, 0.15, 0.15, 0.05])),
            tumour_share=0.01 * float(rng.lognormal()),
        )
        for number in range(count)
    ]


def sides_of(split) -> dict[str, Side]:
    return {patient: side for side in SIDES for patient in getattr(split, side)}


def sizes(split):
    return [len(getattr(split, side)) for side in SIDES]


@pytest.mark.parametrize("count", [3, 4, 5, 20])
def test_split_never_shares_or_loses_a_patient(count):
    for seed in SEEDS:
        split = split_patients(members(count), seed=seed)
        assert sorted(split.ids) == [member.id for member in members(count)]
        assert all(tuple(sorted(getattr(split, side))) == getattr(split, side) != () for side in SIDES)


@pytest.mark.parametrize(
    ("count", "fractions", "expected"),
    [
        (3, {}, [1, 1, 1]),
        (6, {}, [4, 1, 1]),
        (8, {}, [4, 2, 2]),
        (20, {}, [12, 4, 4]),
        (110, {}, [66, 22, 22]),
        (10, {"val_fraction": 0.1, "test_fraction": 0.3}, [6, 1, 3]),
        (4, {"val_fraction": 0.4, "test_fraction": 0.5}, [1, 1, 2]),
        (10, {"val_fraction": 0.01, "test_fraction": 0.01}, [8, 1, 1]),
    ],
)
def test_split_has_the_sizes_that_are_nearest_to_the_fractions(count, fractions, expected):
    for seed in range(5):
        assert sizes(split_patients(members(count), seed=seed, **fractions)) == expected
        assert sizes(split_patients(varied(count, 0), seed=seed, **fractions)) == expected


def test_split_keeps_all_visits_of_a_person_on_one_side():
    for seed in SEEDS:
        sides = sides_of(split_patients(members(8, visits=3), seed=seed))
        assert len(sides) == 24
        assert all(len({sides[f"TCGA_{n:04d}-{visit}"] for visit in range(3)}) == 1 for n in range(8))


def test_split_counts_persons_and_not_visits():
    many = [Member(id=f"A-{visit}", person="A") for visit in range(30)]
    assert sizes(split_patients([*many, *members(4)], seed=0)) in ([32, 1, 1], [3, 30, 1], [3, 1, 30])


def test_split_does_not_depend_on_the_order_of_the_patients():
    assert split_patients(reversed(varied(20, 0)), seed=1) == split_patients(varied(20, 0), seed=1)


def test_split_depends_on_the_seed():
    assert len({split_patients(varied(20, 0), seed=seed) for seed in range(10)}) == 10


def distances(chosen, split):
    """Return how far the mean rank of tumour shares of validation and test is from that of all, in deviations."""
    shares = np.array([member.tumour_share for member in chosen])
    ranks = dict(zip([member.id for member in chosen], shares.argsort().argsort(), strict=True))
    all_ranks = np.array(list(ranks.values()))
    return [
        abs(np.mean([ranks[i] for i in ids]) - all_ranks.mean()) / all_ranks.std() for ids in (split.val, split.test)
    ]


def test_split_balances_the_tumours_sizes():
    plain, balanced = [], []
    for seed in SEEDS:
        chosen = varied(20, seed)
        balanced += distances(chosen, split_patients(chosen, seed=seed))
        blind = [Member(id=member.id, person=member.person) for member in chosen]
        plain += distances(chosen, split_patients(blind, seed=seed))
    assert np.mean(plain) > 0.3  # four of twenty at random
    assert np.mean(balanced) < 0.6 * np.mean(plain)


def test_split_balances_institutions():
    chosen = [Member(id=f"P{n:02d}", person=f"P{n:02d}", group="AB"[n % 2]) for n in range(20)]
    for seed in SEEDS:
        split = split_patients(chosen, seed=seed)
        assert all(sum(int(patient[1:]) % 2 for patient in ids) in (1, 2, 3) for ids in (split.val, split.test))


@pytest.mark.parametrize(("count", "most"), [(20, 3.5), (40, 2.5), (110, 2.5)])
def test_split_moves_few_persons_when_one_is_added(count, most):
    moved = []
    for seed in range(40):
        chosen = varied(count + 1, seed)
        before, after = (sides_of(split_patients(some, seed=seed)) for some in (chosen[:-1], chosen))
        moved.append(sum(after[patient] != side for patient, side in before.items()))
    assert np.mean(moved) < most


def test_split_keeps_the_sides_that_are_given():
    given: dict[str, Side] = {
        "TCGA_0000": "test",
        "TCGA_0001": "test",
        "TCGA_0002": "train",
        "TCGA_0003": "val",
        "unknown": "val",
    }
    for seed in SEEDS:
        split = split_patients(members(10), seed=seed, sides=given)
        sides = sides_of(split)
        assert sizes(split) == [6, 2, 2]
        assert all(sides[person] == side for person, side in given.items() if person != "unknown")


def test_split_adds_only_the_new_persons_to_an_earlier_split():
    before = sides_of(split_patients(varied(40, 0), seed=0))
    after = split_patients(varied(50, 0), seed=0, sides=before)
    assert {patient: sides_of(after)[patient] for patient in before} == before
    assert sizes(after) == [30, 10, 10]


def test_split_lets_a_file_give_a_side_more_than_its_share():
    given: dict[str, Side] = {f"TCGA_{n:04d}": "test" for n in range(6)}
    assert sizes(split_patients(members(10), seed=0, sides=given)) == [2, 2, 6]


def test_split_shares_what_a_file_leaves_among_the_sides_that_lack_persons():
    given: dict[str, Side] = {f"TCGA_{n:04d}": "test" for n in range(80)}
    assert sizes(split_patients(members(100), seed=0, sides=given)) == [10, 10, 80]
    assert sizes(split_patients(members(82), seed=0, sides=given)) == [1, 1, 80]


def test_split_refuses_a_side_that_a_file_leaves_empty():
    given: dict[str, Side] = {f"TCGA_{n:04d}": "train" if n else "test" for n in range(10)}
    message = r"^no patient is left for val: --split puts 9 persons on train, 0 on val and 1 on test; give each side"
    with pytest.raises(DataError, match=message):
        split_patients(members(10), seed=0, sides=given)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_split_refuses_fewer_than_three_persons(count):
    with pytest.raises(DataError, match=rf"there are {count} persons, but there must be at least 3"):
        split_patients(members(count), seed=0)


def test_split_says_how_many_patients_too_few_persons_are():
    with pytest.raises(DataError, match=r"there are 2 persons \(of 6 patients\), .* say by --patient-pattern"):
        split_patients(members(2, visits=3), seed=0)


def test_split_refuses_an_id_twice():
    with pytest.raises(DataError, match="appear twice: TCGA_0001"):
        split_patients([*members(4), Member(id="TCGA_0001", person="another")], seed=0)


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
        split_patients(members(10), seed=0, **fractions)


def test_in_hash_order_depends_on_the_seed_and_not_on_the_given_order():
    # By `printf 7607:0:a | sha256sum` and so on: a 0.70, b 0.33, d 0.55, e 0.73, i 0.50, m 0.58.
    assert in_hash_order("abdeim", seed=0) == list("bidmae")
    ids = [f"P{number}" for number in range(12)]
    found = in_hash_order(ids, seed=0)
    assert found == in_hash_order(reversed(ids), seed=0)
    assert found != in_hash_order(ids, seed=1)
    assert [one for one in found if one != "P3"] == in_hash_order([one for one in ids if one != "P3"], seed=0)
