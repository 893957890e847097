"""The search space: every sample of it is a network and a training, and nothing else is."""

from dataclasses import replace

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from model.networks import NETWORKS
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from search.space import (
    CORE,
    SPACES,
    WIDE,
    SharedSettings,
    batch_sizes,
    default_sample,
    describe,
    largest_network,
    to_configs,
)
from tests.support.plain_network import PLAIN, PlainConfig
from tests.support.searching import in_space

FIXED = SharedSettings(in_channels=3, max_epochs=9, batch_size=16, width=12, patience=5, precision="float32", seed=4)


def draw(space, num_draws: int, seed: int) -> list[dict]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [study.ask(space).params for _ in range(num_draws)]


@pytest.mark.parametrize("name", SPACES)
def test_every_sample_of_a_space_describes_a_network_and_a_training(name):
    for sample in draw(SPACES[name], 200, seed=1):
        unet, train = to_configs(sample, FIXED)
        for key, value in sample.items():
            assert getattr(unet if hasattr(unet, key) else train, key) == value
        assert unet.side_multiple <= largest_network(SPACES[name]).side_multiple
        assert train.batch_size in batch_sizes(SPACES[name], FIXED.batch_size)


def test_to_configs_of_an_empty_sample_are_shared_settings_and_defaults():
    unet, train = to_configs({}, FIXED)
    assert unet == UNetConfig(in_channels=3, width=12)
    assert train == TrainConfig(max_epochs=9, batch_size=16, patience=5, precision="float32", seed=4)


def test_to_configs_sample_overrides_shared_settings():
    unet, train = to_configs({"width": 8, "batch_size": 32}, FIXED)
    assert isinstance(unet, UNetConfig)
    assert (unet.width, train.batch_size) == (8, 32)


def test_to_configs_names_unknown_keys_and_the_legal_ones():
    with pytest.raises(
        ValueError, match=r"^unknown hyperparameter lr, momentum; legal are augment, .*, width$"
    ) as caught:
        to_configs({"momentum": 0.9, "lr": 1e-3, "depth": 3}, FIXED)
    for legal in ("learning_rate", "depth", "dropout", "bce_weight", "weight_decay"):
        assert legal in str(caught.value)


def test_to_configs_raises_what_a_config_refuses():
    with pytest.raises(UserError, match=r"dropout is 1\.5, but must be at least 0 and below 1"):
        to_configs({"dropout": 1.5}, FIXED)


def test_wide_space_contains_the_core_space():
    assert CORE.items() <= WIDE.items()


def test_describe_says_each_axis_by_hand():
    space = {
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
        "depth": IntDistribution(2, 5),
        "norm": CategoricalDistribution(["instance", "batch"]),
    }
    assert describe(space) == {
        "learning_rate": "0.0001 to 0.01, log",
        "depth": "2 to 5",
        "norm": "one of instance, batch",
    }


def test_to_configs_describes_the_network_that_is_asked_for(monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain", PLAIN)
    plain, train = to_configs({"kernel": 5, "batch_size": 8}, replace(FIXED, architecture="plain"))
    assert (plain, train.batch_size) == (PlainConfig(kernel=5), 8)
    assert largest_network({"kernel": IntDistribution(1, 7)}, "plain") == PlainConfig(kernel=7)
    with pytest.raises(ValueError, match=r"unknown hyperparameter depth; legal are .*kernel"):
        to_configs({"depth": 3}, replace(FIXED, architecture="plain"))


def test_to_configs_refuses_an_unknown_architecture():
    with pytest.raises(UserError, match="architecture is 'vgg', but must be one of unet"):
        to_configs({}, replace(FIXED, architecture="vgg"))


def test_space_without_an_axis_has_the_default():
    assert largest_network({}) == UNetConfig()
    assert largest_network({"depth": IntDistribution(1, 3)}) == UNetConfig(depth=3)
    assert batch_sizes({}, 24) == (24,)
    assert batch_sizes(WIDE, 24) == (8, 16, 32)


@pytest.mark.parametrize("name", SPACES)
def test_default_sample_lies_in_every_space_and_changes_nothing(name):
    sample = default_sample(SPACES[name])
    assert in_space(sample, SPACES[name])
    shared = replace(FIXED, batch_size=16, width=16)
    assert to_configs(sample, shared) == to_configs({}, shared)


def test_default_sample_of_a_space_without_the_default_is_what_is_nearest():
    space = {
        "depth": CategoricalDistribution([2, 5]),
        "norm": CategoricalDistribution(["batch"]),
        "learning_rate": FloatDistribution(2e-3, 1e-2, log=True),
        "dropout": FloatDistribution(0.0, 0.05),
    }
    assert default_sample(space) == {"depth": 5, "norm": "batch", "learning_rate": 2e-3, "dropout": 0.05}
