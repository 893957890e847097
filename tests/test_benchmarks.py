"""What the benchmarks compute: recorded curves, replays on them, and the figures that follow."""

import json
import math

import numpy as np
import pytest

from data.errors import UserError
from search.coordination.trial_progress import Leg
from search.promotion.ranking import paired_gains
from search.space.configs import default_sample
from search.space.named import CORE
from search.suggestion.gaussian_process import Prior
from search.suggestion.unit_cube import UnitCube
from tests.benchmarks.entrants.comparison import compare
from tests.benchmarks.entrants.contest import ENTRANTS, Score
from tests.benchmarks.learn_prior import Arguments as LearnArguments
from tests.benchmarks.learn_prior import ends_of, learn_prior, read_priors
from tests.benchmarks.learn_prior import main as learn_belief
from tests.benchmarks.recording.ensembles import record_ensembles
from tests.benchmarks.recording.task import Arguments, draw_samples, read_task
from tests.benchmarks.replays import BUDGETS, Pool, Replay
from tests.benchmarks.search_efficiency import equivalent, summary
from tests.support.recorded_curves import RecordedCurves, read_curves, write_curves
from tests.support.searching import in_space


def recorded(num: int = 12) -> RecordedCurves:
    """Return a task whose configurations end the better, the higher their number, by the shape of one curve."""
    ends = np.linspace(0.3, 0.8, num)[:, None, None, None]
    rise = np.linspace(0.4, 1.0, 9)[None, None, :, None]
    seeds = np.array([0.0, 0.01])[None, :, None, None]
    patients = np.array([-0.1, 0.1, 0.0])[None, None, None, :]
    return RecordedCurves(
        header={"data": "made"},
        samples=draw_samples(num),
        dice=ends * rise + seeds + patients,
        ensembles={1: np.array([0.2, 0.4, 0.3]), 2: np.array([0.25, 0.45, 0.35])},
        is_test=np.array([False, False, True]),
        seconds=np.ones(num),
    )


def test_curves_that_were_written_are_read(tmp_path):
    curves = recorded()
    curves.dice[3, 1, 5:] = np.nan
    write_curves(tmp_path / "made.npz", curves)
    found = read_curves(tmp_path / "made.npz")
    assert found.dice == pytest.approx(curves.dice, abs=5e-5, nan_ok=True)
    assert (found.samples, found.header, found.num_epochs) == (curves.samples, curves.header, 9)
    assert found.validation[0, 0, 8] == pytest.approx(0.3, abs=1e-4)
    assert found.test[11, 1, 8] == pytest.approx(0.81, abs=1e-4)
    assert found.validation[3, 1, 8] == 0.0
    assert list(found.ensembles) == [1, 2]
    assert [found.test_of_ensemble(size) for size in (1, 2, 3)] == pytest.approx([0.3, 0.35, 0.35])


def test_contrast_is_for_phantoms_alone(tmp_path):
    with pytest.raises(UserError, match=r"^contrast is for phantoms such as phantom:24, but data is 'kaggle_3m'$"):
        read_task(Arguments(name="faint", data="kaggle_3m", contrast=0.4))
    task = read_task(Arguments(name="faint", data="phantom:4", contrast=0.4))
    assert len(task.train_pack.patient_ids) + len(task.judged_pack.patient_ids) == 4


@pytest.mark.slow
def test_ensembles_are_recorded_once(tmp_path):
    task = read_task(Arguments(name="few", data="phantom:4", epochs=2))
    found = record_ensembles(3, tmp_path, 2, task)
    assert list(found) == [1, 2]
    assert {len(dice) for dice in found.values()} == {len(task.judged_pack.patient_ids)}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.npy", "1.npy", "2.npy"]
    (tmp_path / "2.npy").unlink()
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = record_ensembles(3, tmp_path, 2, task)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert all(np.array_equal(again[size], found[size], equal_nan=True) for size in found)


def test_samples_begin_with_the_default_and_lie_in_the_space():
    samples = draw_samples(33)
    assert samples[0] == default_sample(CORE)
    assert len({str(sample) for sample in samples}) == 33
    assert all(in_space(sample, CORE) for sample in samples)


def test_a_trial_follows_the_nearest_curve_that_no_other_trial_follows():
    curves = recorded()
    pool = Pool(curves, seen=0)
    legs = [Leg(number=number, sample=curves.samples[4]) for number in range(12)]
    places = [pool.place(leg) for leg in legs]
    assert places[0] == 4
    assert sorted(places) == list(range(12))
    assert [pool.place(leg) for leg in legs] == places
    assert pool.dice(legs[0], 9) == pytest.approx(curves.validation[4, 0, 8])
    assert pool.regret(11) == pytest.approx(100 * (0.805 - 0.81))  # judged by the other training, which is luckier
    assert pool.regret(0) == pytest.approx(100 * (0.805 - 0.31))


def test_a_configuration_must_clearly_be_better_than_the_default():
    curves = recorded()
    curves.dice[5, 0, :, 0] = curves.dice[0, 0, :, 0] + 0.5  # much better in one patient, and worse in the other
    curves.dice[5, 0, :, 1] = curves.dice[0, 0, :, 1] - 0.2
    pool = Pool(curves, seen=0)
    best = {0: (0.3, 9), 2: (0.35, 9), 5: (0.45, 9)}
    assert pool.promote(best, default=None) == 5
    assert pool.promote(best, default=0) == 2
    assert pool.promote({5: best[5]}, default=0) == 5


def test_more_networks_of_the_default_regret_less(tmp_path):
    write_curves(tmp_path / "made.npz", recorded())
    found = Replay(file=tmp_path / "made.npz", kind="default_seeds", num_lanes=1, seed=0).regrets()
    assert found[1] > found[2] == found[32]


def test_oracle_knows_the_test_patients_but_not_the_other_training():
    curves = recorded()
    curves.dice[10, 0, -1, 2] += 0.5  # seen, and lucky
    pool = Pool(curves, seen=0)
    assert pool.best_on_all_patients() == 10
    assert pool.regret(10) > pool.regret(11)
    assert Pool(curves, seen=1).best_on_all_patients() == 11


def drawn(prior: Prior, seed: int, source: str) -> RecordedCurves:
    """Return a task whose ends are drawn from a belief, after rising by a tenth in the second half."""
    rng, samples = np.random.default_rng(seed), draw_samples(41)
    points = UnitCube(CORE).encode(*samples)
    covariance = prior.covariance(points, points, points[0])
    ends = rng.multivariate_normal(prior.mean(points, points[0]), covariance)[:, None] + rng.normal(
        0, prior.noise, (41, 2)
    )
    rise = np.where(np.arange(1, 28) <= 14, -0.1, 0.0)
    return RecordedCurves(
        header={"data": source},
        samples=samples,
        dice=(ends[:, :, None] + rise)[..., None].repeat(2, axis=3),
        ensembles={},
        is_test=np.array([False, True]),
        seconds=np.ones(41),
    )


def test_belief_is_learned_from_tasks():
    truth = Prior(level=0.7, level_deviation=0.02, depth=0.08, amplitude=0.02, length=0.4, noise=0.01)
    tasks = [drawn(truth, seed, "made") for seed in range(4)]
    learned = learn_prior(tasks)
    unseen = ends_of(drawn(truth, 4, "made"))
    assert unseen.log_likelihood(Prior()) + 0.15 < unseen.log_likelihood(learned)
    assert unseen.log_likelihood(learned) == pytest.approx(unseen.log_likelihood(truth), abs=0.15)
    assert learned.gains == pytest.approx((0.1, 0.1, 0.1, 0.1, 0.0, 0.0, 0.0), abs=1e-3)
    assert max(learned.gain_deviations) < 1e-3


def test_belief_for_a_task_is_learned_from_other_patients(tmp_path, capsys):
    for name, seed, source in (("a_0", 0, "phantom:24"), ("a_1", 1, "phantom:9"), ("b", 2, "kaggle_3m")):
        write_curves(tmp_path / f"{name}.npz", drawn(Prior(noise=0.01), seed, source))
    learn_belief(LearnArguments(folder=tmp_path, out=tmp_path / "priors.json"))
    found = read_priors(tmp_path / "priors.json")
    assert found["a_0"] == found["a_1"] == learn_prior([read_curves(tmp_path / "b.npz")])
    assert found["b"] != found["a_0"]
    assert capsys.readouterr().out.count("with one from the other tasks") == 3


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "kind", ["ours", "planned", "random", "near", "tpe", "stock", "optuna", "prior_gp+none", "planned:prior_gp+asha"]
)
def test_replay_of_a_search_regrets_less_after_more_trainings(tmp_path, kind):
    write_curves(tmp_path / "made.npz", recorded())
    found = Replay(file=tmp_path / "made.npz", kind=kind, num_lanes=2, seed=0).regrets()
    assert tuple(found) == BUDGETS
    assert found[32] <= found[1]
    assert found[32] == pytest.approx(found[16])  # the configurations are used up by then


@pytest.mark.parametrize(
    ("regret", "trainings"), [(5.0, 1.0), (4.0, 1.0), (3.0, 1.5), (2.0, 2.0), (1.5, 3.0), (1.0, 4.0), (0.5, 4.0)]
)
def test_equivalent_by_hand(regret, trainings):
    assert equivalent(regret, {1: 4.0, 2: 2.0, 4: 1.0}) == pytest.approx(trainings)


def test_summary_by_hand():
    flat = {"a": dict.fromkeys(BUDGETS, 3.0), "b": dict.fromkeys(BUDGETS, 2.0)}
    peer = dict(zip(BUDGETS, (6.0, 5.0, 4.0, 3.0, 2.0, 1.0), strict=True))
    report = {"ours x1": flat, "planned x1": {"a": {8: 1.0}, "b": {8: 2.5}}}
    report |= {"default x1": {"a": {8: 4.0}, "b": {8: 2.5}}, "oracle x1": {"a": {8: 0.0}, "b": {8: 0.5}}}
    report |= {f"{name} x1": {"a": peer, "b": peer} for name in ("random", "stock")}
    found = summary(report, 1)
    assert (found["random_equivalent_at_8"], found["random_equivalent_at_8_worst"]) == (1.5, 1.0)
    assert found["planned_stock_equivalent_at_8"] == pytest.approx((4.0 + 1.5) / 2)
    assert found["gain_over_default_at_8_dice"] == pytest.approx(0.0075)
    assert found["planned_gain_over_default_at_8_dice"] == pytest.approx(0.015)
    assert found["oracle_gain_over_default_at_8_dice"] == pytest.approx(0.03)


def scored(entrant: str, *dice: float) -> Score:
    """Return the score of an entrant on patients in reverse order."""
    patients = {f"P{number}": one for number, one in enumerate(dice)}
    return Score(entrant=entrant, seconds=60.0, dice=dict(reversed(patients.items())), facts={"epochs": 3})


def test_comparison_of_entrants_by_hand():
    scores = [
        scored("ours", 0.9, 0.8, 0.4),
        scored("default", 0.5, 0.5, 0.8),
        scored("monai", 0.8, 0.8, 0.2),  # as good as the default; the first of them is the best
    ]
    found = json.loads(json.dumps(compare(scores)))
    assert [found[f"dice_{name}"] for name in ENTRANTS] == [0.7, 0.6, None, None, 0.6, None]
    assert [found[f"median_{name}"] for name in ENTRANTS] == [0.8, 0.5, None, None, 0.8, None]
    assert (found["best_other"], found["gain_over_best"]) == ("default", 0.1)
    assert found["standard_error"] == pytest.approx(0.2517, abs=1e-4)  # of 0.4, 0.3 and -0.4
    assert -0.4 <= found["gain_low"] < 0.1 < found["gain_high"] <= 0.4
    assert found["num_patients"] == 3
    assert found["seconds"] == {"ours": 60.0, "default": 60.0, "monai": 60.0}
    assert found["trained"]["monai"] == {"epochs": 3}


def test_comparison_without_ours_has_no_gain():
    found = compare([scored("default", 0.5, 0.7)])
    assert (found["dice_ours"], found["dice_default"], found["gain_over_best"], found["gain_low"]) == (
        None,
        0.6,
        None,
        None,
    )


def test_patient_without_tumour_counts_for_the_entrant_that_predicts_none():
    found = paired_gains([math.nan, 0.0, math.nan, 0.5], [math.nan, math.nan, 0.0, 0.7])
    assert found.tolist() == pytest.approx([1.0, -1.0, 0.2])  # the first patient is undefined for both
    gain = compare([scored("ours", math.nan, math.nan, 0.7), scored("default", math.nan, 0.0, 0.5)])
    assert gain["gain_over_best"] == 0.6
