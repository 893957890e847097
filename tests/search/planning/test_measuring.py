"""What an epoch takes: measured where there is time for one, and extrapolated where there is not."""

import pytest
import torch

from model.networks import build
from model.training.checkpoint import TrainState
from model.training.train import Halted
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from search.cluster.capacity.lane_plan import LanePlan
from search.config import SearchConfig
from search.planning import measuring
from search.planning.measuring import MeasuredEpoch, measure_epoch, time_epoch
from search.space.configs import default_sample
from search.space.named import CORE
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


def untrained() -> TrainState:
    """Return a training before its first batch."""
    network = build(UNET)
    optimizer = torch.optim.SGD(network.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return TrainState(network, optimizer, schedule, torch.amp.GradScaler("cpu", enabled=False))


def train_at(clock: Times, batch_seconds: float, trained: list[int]):
    """Return a function that trains epochs of four batches and a second of validation; a first batch takes 5 s more."""

    def train(*arguments, halt):
        for epoch in (1, 2):
            for batch in range(4):
                if halt():
                    raise Halted(untrained())
                clock.now += batch_seconds + (5.0 if epoch == 1 and batch == 0 else 0.0)
            clock.now += 1.0
            trained.append(epoch)
            yield type("Result", (), {"metrics": {"seconds": 4 * batch_seconds + 1, "val_seconds": 1.0}})

    return train


@pytest.mark.parametrize(
    ("at_most", "num_trained", "val_seconds"),
    [(30.0, 2, 1.0), (15.0, 1, 1.0), (9.0, 0, 8 / 3 * 3 / 8), (8.0, 0, 8 / 3 * 3 / 8)],
)
def test_length_of_an_epoch_is_right_however_much_of_it_there_is_time_for(
    monkeypatch, at_most, num_trained, val_seconds
):
    clock, trained = Times(0.0), []
    monkeypatch.setattr(measuring, "time", clock)
    monkeypatch.setattr(measuring, "train", train_at(clock, 2.0, trained))
    found = time_epoch(UNET, TRAINING, 1, *PACKS, at_most)
    assert trained == list(range(1, num_trained + 1))
    assert (found.seconds, found.val_seconds) == pytest.approx((8 + val_seconds, val_seconds))


def test_length_of_an_epoch_is_that_of_the_first_batch_if_there_is_time_for_one(monkeypatch):
    clock = Times(0.0)
    monkeypatch.setattr(measuring, "time", clock)
    monkeypatch.setattr(measuring, "train", train_at(clock, 2.0, []))
    assert time_epoch(UNET, TRAINING, 1, *PACKS, 3.0).seconds == pytest.approx(4 * 7.0 * (1 + 1 / 8))


def test_epoch_that_does_not_fit_is_computed_from_its_batches(monkeypatch):
    monkeypatch.setattr(measuring, "time", Times(1.0))  # late at the third batch of four
    found = time_epoch(UNET, TRAINING, 1, *PACKS, 2.5)
    assert found.seconds == pytest.approx(4 * (1 + 1 / 8))


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
    assert found == MeasuredEpoch(seconds=8.0, val_seconds=2.0)
    [(network, training, num_threads, train_pack, _, at_most)] = asked
    sample = default_sample(CORE)
    for name, value in sample.items():
        assert value in (getattr(network, name, None), getattr(training, name, None))
    assert (training.max_epochs, training.batch_size, training.patience, training.loader_processes) == (2, 4, 0, 2)
    assert (num_threads, at_most) == (3, 5.0)
    assert train_pack.num_slices == small_cohort().train_pack.num_slices
