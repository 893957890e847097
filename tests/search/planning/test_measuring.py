"""What an epoch takes: measured where there is time for one, and extrapolated where there is not."""

import pytest

from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from search.cluster.capacity.lane_plan import LanePlan
from search.config import SearchConfig
from search.planning import measuring
from search.planning.measuring import MeasuredEpoch, measure_epoch, time_epoch
from search.space import default_sample
from tests.support.fakes import small_cohort, small_pack

UNET = UNetConfig(depth=1, width=2)
TRAINING = TrainConfig(max_epochs=2, batch_size=2, precision="float32")
PACKS = small_pack([True, False] * 4), small_pack([True, False, True], seed=1)


class Times:
    """A clock that goes on by some seconds whenever it is read."""

    def __init__(self, step: float) -> None:
        self.now, self._step = 0.0, step

    def perf_counter(self) -> float:
        self.now += self._step
        return self.now


def test_measured_epoch_is_the_whole_of_training_and_validation():
    found = time_epoch(UNET, TRAINING, 1, *PACKS, 60.0)
    assert 0 < found.val_seconds < found.seconds < 60


@pytest.mark.parametrize(("at_most", "epochs"), [(1000.0, 2), (14.0, 1)])
def test_second_epoch_is_measured_where_there_is_time(monkeypatch, at_most, epochs):
    trained = []

    def train(*arguments, halt):
        for epoch in (1, 2):
            for _ in range(3):
                assert not halt()
            trained.append(epoch)
            yield type("Result", (), {"metrics": {"seconds": 10.0 * epoch, "val_seconds": 1.0}})

    monkeypatch.setattr(measuring, "time", Times(2.0))
    monkeypatch.setattr(measuring, "train", train)
    found = time_epoch(UNET, TRAINING, 1, *PACKS, at_most)
    assert (trained, found.seconds) == (list(range(1, epochs + 1)), 10.0 * epochs)


def test_epoch_that_does_not_fit_is_extrapolated_from_its_batches(monkeypatch):
    monkeypatch.setattr(measuring, "time", Times(1.0))  # late at the third batch of four
    found = time_epoch(UNET, TRAINING, 1, *PACKS, 2.5)
    whole = time_epoch(UNET, TRAINING, 1, *PACKS, 1e9)
    assert found.seconds == pytest.approx(found.val_seconds + found.val_seconds * 3 * 8 / 3)
    assert 0 < found.val_seconds < found.seconds
    assert whole.seconds > 0


def test_measured_is_the_default_with_what_a_worker_books(monkeypatch):
    asked = []

    class Tasks:
        num_threads, loader_processes = 3, 2

        def __init__(self, lanes):
            assert lanes.num_workers == 2

        def share(self, pack):
            return pack

        def run(self, function, *arguments):
            asked.append(arguments)
            return MeasuredEpoch(seconds=8.0, val_seconds=2.0)

    monkeypatch.setattr(measuring, "TaskRunner", Tasks)
    lanes = LanePlan(num_lanes=1, num_workers=2, cpus_per_worker=1, gpus_per_worker=0.0)
    config = SearchConfig(batch_size=4, space="core", patience=3)
    found = measure_epoch(config, small_cohort(), lanes, at_most_seconds=5.0)
    assert found == MeasuredEpoch(seconds=4.0, val_seconds=1.0)
    [(network, training, num_threads, train_pack, _, at_most)] = asked
    sample = default_sample(measuring.SPACES["core"])
    for name, value in sample.items():
        assert value in (getattr(network, name, None), getattr(training, name, None))
    assert (training.max_epochs, training.batch_size, training.patience, training.loader_processes) == (2, 4, 0, 2)
    assert (num_threads, at_most) == (3, 5.0)
    assert train_pack.num_slices == small_cohort().train_pack.num_slices
