"""The optimizers and schedules: their tables, what they do by hand, and trainings with each that resume bit for bit."""

import pytest
import torch

from data.errors import UserError
from data.legal import rules
from model.training.checkpoint import CheckpointError
from model.training.optimisation import OPTIMIZERS, SCHEDULES, build_optimizer, build_schedule
from model.training.train_config import TrainConfig
from tests.support.training import bytes_after, run_training, same_weights, small_training, without_clocks


def test_tables_hold_what_the_config_allows():
    found = rules(TrainConfig)
    assert (found["optimizer"].choices, found["schedule"].choices) == (tuple(OPTIMIZERS), tuple(SCHEDULES))
    assert found["momentum"].when == {"optimizer": ("sgd",)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_train_with_every_optimizer_resumes_bit_for_bit(optimizer):
    changes = {"optimizer": optimizer, "max_epochs": 3}
    whole, weights = run_training(**changes)
    rest, resumed = run_training(resume_from=bytes_after(1, **changes), **changes)
    assert without_clocks(rest) == without_clocks(whole)[1:]
    assert same_weights(resumed, weights)
    assert not same_weights(weights, run_training(max_epochs=1, optimizer=optimizer)[1])


def test_sgd_takes_two_steps_of_nesterov_by_hand():
    # f(w) = w from w = 0: with m = 1 and then m = 1.5, a step is 0.1 * (1 + 0.5 m).
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    config = TrainConfig(max_epochs=1, optimizer="sgd", momentum=0.5, learning_rate=0.1, weight_decay=0.0)
    optimizer = build_optimizer(network, config)
    for expected in (-0.15, -0.325):
        optimizer.zero_grad()
        network(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        assert network.weight.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("cosine", [0.5, 1.0, 1.0, 0.75, 0.25, 0.0]),
        ("poly", [0.5, 1.0, 1.0, (2 / 3) ** 0.9, (1 / 3) ** 0.9, 0.0]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_schedule_after_a_warmup_of_two_of_five_steps_is_worked_by_hand(schedule, factors):
    config = TrainConfig(max_epochs=1, schedule=schedule, warmup_fraction=0.4, learning_rate=2.0)
    optimizer = build_optimizer(torch.nn.Linear(1, 1), config)
    course = build_schedule(optimizer, config, num_steps=5)
    rates = [course.get_last_lr()[0]]
    for _ in range(5):
        optimizer.step()
        course.step()
        rates.append(course.get_last_lr()[0])
    assert rates == pytest.approx([2 * factor for factor in factors], abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule_that_is_all_warmup_ends_at_its_peak(schedule):
    results, _ = run_training(max_epochs=1, schedule=schedule, warmup_fraction=1.0)
    assert results[-1].metrics["learning_rate"] == pytest.approx(1e-3)


def test_train_refuses_the_checkpoint_of_another_optimizer():
    with pytest.raises(CheckpointError, match="checkpoint is of the optimizer AdamW, but this training has SGD"):
        run_training(optimizer="sgd", resume_from=bytes_after(1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "lion"}, "optimizer is 'lion', but must be one of adamw, adam, sgd, radam"),
        ({"momentum": 1.0}, "momentum is 1.0, but must be above 0 and below 1"),
        ({"schedule": "step"}, "schedule is 'step', but must be one of cosine, poly, constant"),
        ({"pixel_loss": "mse"}, "pixel_loss is 'mse', but must be one of bce, focal"),
        ({"focal_gamma": 6.0}, "focal_gamma is 6.0, but must be from 0 to 5"),
        ({"overlap_loss": "iou"}, "overlap_loss is 'iou', but must be one of dice, tversky"),
        ({"tversky_alpha": 1.5}, "tversky_alpha is 1.5, but must be from 0 to 1"),
        ({"augment_noise": 2.5}, "augment_noise is 2.5, but must be from 0 to 2"),
    ],
)
def test_train_config_refuses_illegal_choices(changes, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        small_training(**changes)


def test_train_config_passes_the_augmentation_of_every_kind_on():
    kinds = {"geometry": 0.1, "elastic": 0.2, "intensity": 0.3, "noise": 0.4}
    found = small_training(augment=0.5, **{f"augment_{kind}": value for kind, value in kinds.items()}).augmentation
    assert {"strength": 0.5, **kinds} == vars(found)
