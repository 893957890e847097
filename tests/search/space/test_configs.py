"""From a sample to a network and a training: every sample of a space describes one of each, and nothing else does."""

from dataclasses import replace

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from data.errors import UserError
from model.networks import NETWORKS
from model.segmentation_network import NetworkConfig
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from search.space.configs import (
    SharedSettings,
    batch_sizes,
    check_architectures,
    corner_samples,
    default_sample,
    default_samples,
    to_configs,
)
from search.space.make import make_space
from search.space.named import CORE, SPACES, WIDE
from search.space.space import Space
from search.tune import parse
from tests.support.plain_network import PLAIN, PlainConfig
from tests.support.searching import in_space

SWEEP = {
    "architecture": {"values": ["unet", "plain"]},
    "kernel": {"min": 1, "max": 7},
    "depth": {"min": 1, "max": 3},
    "width": {"values": [4, 24, 8]},
    "batch_size": {"values": [4, 8]},
}
FIXED = SharedSettings(in_channels=3, max_epochs=9, batch_size=16, width=12, patience=5, precision="float32", seed=4)


def largest(space) -> NetworkConfig:
    sample, *_ = corner_samples(space, largest=True)
    return to_configs(sample, FIXED)[0]


def draw(space, num_draws: int, seed: int) -> list[dict]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [study.ask(space).params for _ in range(num_draws)]


@pytest.mark.parametrize("name", SPACES)
def test_every_sample_of_a_space_describes_a_network_and_a_training(name):
    for sample in draw(SPACES[name], 200, seed=1):
        unet, train = to_configs(sample, FIXED)
        for key, value in sample.items():
            assert getattr(unet if hasattr(unet, key) else train, key) == value
        assert unet.side_multiple <= largest(SPACES[name]).side_multiple
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
        ValueError, match=r"^unknown hyperparameter layers, lr; legal are activation, .*, width$"
    ) as caught:
        to_configs({"layers": 9, "lr": 1e-3, "depth": 3}, FIXED)
    for legal in ("learning_rate", "depth", "dropout", "bce_weight", "weight_decay"):
        assert legal in str(caught.value)


def test_to_configs_raises_what_a_config_refuses():
    with pytest.raises(UserError, match=r"dropout is 1\.5, but must be at least 0 and below 1"):
        to_configs({"dropout": 1.5}, FIXED)


def test_wide_space_contains_the_core_space():
    assert CORE.items() <= WIDE.items()


def test_to_configs_describes_the_network_that_is_asked_for(monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain", PLAIN)
    shared = replace(FIXED, constants={"architecture": "plain"})
    plain, train = to_configs({"kernel": 5, "batch_size": 8}, shared)
    assert (plain, train.batch_size) == (PlainConfig(kernel=5), 8)
    with pytest.raises(ValueError, match=r"unknown hyperparameter depth; legal are .*kernel"):
        to_configs({"depth": 3}, shared)
    assert to_configs({"architecture": "unet", "depth": 3}, shared)[0] == UNetConfig(depth=3, width=12)


def test_to_configs_refuses_an_unknown_architecture():
    with pytest.raises(UserError, match="architecture is 'vgg', but must be one of unet"):
        to_configs({"architecture": "vgg"}, FIXED)


def test_corner_samples_are_of_each_network(monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain", PLAIN)
    space = make_space({"parameters": SWEEP})
    assert [*corner_samples(space, largest=True)] == [
        {"architecture": "unet", "depth": 3, "width": 24, "batch_size": 8},
        {"architecture": "plain", "kernel": 7, "batch_size": 8},
    ]
    assert [*corner_samples(space, largest=False)] == [
        {"architecture": "unet", "depth": 1, "width": 4, "batch_size": 4},
        {"architecture": "plain", "kernel": 1, "batch_size": 4},
    ]


def test_larger_network_is_the_one_whose_slices_are_shrunk_less():
    space = Space({"downscale": CategoricalDistribution([1, 2])})
    assert [*corner_samples(space, largest=True)] == [{"downscale": 1}]
    check_architectures(space, 64, FIXED)
    with pytest.raises(UserError, match="need a multiple of 32 pixels, from 64"):
        check_architectures(space, 48, FIXED)


def test_default_of_each_network_is_a_sample(monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain", PLAIN)
    space = make_space({"parameters": SWEEP | {"architecture": {"values": ["plain", "unet"]}}})
    assert [sample["architecture"] for sample in default_samples(space)] == ["unet", "plain"]
    assert default_samples(space)[0] == default_sample(space)
    assert default_samples(WIDE) == [default_sample(WIDE)]


def test_each_choice_of_text_is_tried_beside_the_largest_numbers():
    choices = {"block": ["plain", "residual"], "attention": [False, True]}
    axes = {name: CategoricalDistribution(values) for name, values in choices.items()}
    space = Space(axes | {"depth": IntDistribution(2, 3), "optimizer": CategoricalDistribution(["adamw", "sgd"])})
    plain = {"block": "plain", "attention": False, "depth": 3, "optimizer": "adamw"}
    found = [*corner_samples(space, largest=True)]
    assert found[0] == plain
    assert sorted(found[1:], key=str) == sorted([plain | {"block": "residual"}, plain | {"attention": True}], key=str)
    assert [*corner_samples(space, largest=False)] == [plain | {"depth": 2}]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--set", "width=24", "--width", "16"], "--width has no effect, because the space sets width: leave it out"),
        (["--space", "wide", "--batch-size", "8"], "--batch-size has no effect, because the space varies batch_size"),
        (["--network", "smp:Linknet", "--width", "16"], "--width has no effect, because smp:Linknet has no width"),
    ],
)
def test_option_without_an_effect_is_refused(argv, message):
    with pytest.raises(UserError, match=message):
        parse(argv)


def test_network_that_is_not_installed_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setitem(NETWORKS, "plain", replace(PLAIN, package="no_such_package", extra="smp"))
    with pytest.raises(UserError, match=r"needs the package no_such_package: pip install -e '.\[smp\]'"):
        parse(["--network", "plain", "--set", "kernel=3", "--range", "batch_size=4,8"])


def test_batch_sizes_are_all_that_a_trial_can_have():
    assert batch_sizes(Space({}), 24) == (24,)
    assert batch_sizes(Space({}, constants={"batch_size": 6}), 24) == (6,)
    assert batch_sizes(WIDE, 24) == (8, 16, 32)
    assert batch_sizes(Space({"batch_size": IntDistribution(4, 12, step=4)}), 24) == (4, 8, 12)


@pytest.mark.parametrize("name", SPACES)
def test_default_sample_lies_in_every_space_and_changes_nothing(name):
    sample = default_sample(SPACES[name])
    assert in_space(sample, SPACES[name])
    shared = replace(FIXED, batch_size=16, width=16)
    assert to_configs(sample, shared) == to_configs({}, shared)


def test_default_sample_of_a_space_without_the_default_is_what_is_nearest():
    axes = {
        "depth": CategoricalDistribution([2, 5]),
        "norm": CategoricalDistribution(["batch"]),
        "learning_rate": FloatDistribution(2e-3, 1e-2, log=True),
        "dropout": FloatDistribution(0.0, 0.05),
    }
    assert default_sample(Space(axes)) == {"depth": 5, "norm": "batch", "learning_rate": 2e-3, "dropout": 0.05}
