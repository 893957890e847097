"""An ensemble is the mean of its members, flips are symmetric, and temperature changes no mask at one half."""

import numpy as np
import pytest
import torch

from model.export.predictor import Predictor, torch_network
from model.unet import UNet, UNetConfig

MEAN, STD = torch.tensor([90.0, 100, 110]), torch.tensor([40.0, 50, 60])


def unet(seed: int, depth: int = 1) -> UNet:
    torch.manual_seed(seed)
    return UNet(UNetConfig(depth=depth, width=2)).eval()


def slices(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 16, 24), generator=torch.Generator().manual_seed(seed)).float()


def probability(predictor: Predictor, images: torch.Tensor) -> torch.Tensor:
    return predictor(images, MEAN, STD)[0]


@torch.inference_mode()
def test_ensemble_is_the_mean_of_its_members():
    members = [unet(0), unet(1, depth=2), unet(2)]
    found = probability(Predictor(members), slices())
    expected = torch.stack([probability(Predictor([one]), slices()) for one in members]).mean(0)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert Predictor(members).side_multiple == 4
    assert Predictor(members).num_parameters == sum(p.numel() for one in members for p in one.parameters())


@torch.inference_mode()
def test_flips_treat_left_and_right_alike():
    predictor = Predictor([unet(0)], flips=True)
    found = probability(predictor, slices())
    torch.testing.assert_close(found, probability(predictor, slices().flip(3)).flip(2), atol=1e-6, rtol=0)
    plain = Predictor([unet(0)])
    expected = (probability(plain, slices()) + probability(plain, slices().flip(3)).flip(2)) / 2
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_temperature_divides_the_logit_and_keeps_the_mask_at_one_half(temperature):
    plain, scaled = Predictor([unet(0)]), Predictor([unet(0)], temperature=temperature)
    torch.testing.assert_close(
        probability(scaled, slices()).logit(), probability(plain, slices()).logit() / temperature
    )
    assert torch.equal(plain(slices(), MEAN, STD)[1], scaled(slices(), MEAN, STD)[1])


def test_torch_network_runs_a_copy_in_evaluation_mode():
    network = UNet(UNetConfig(depth=1, width=2, dropout=0.5)).train()
    run = torch_network(Predictor([network]), torch.device("cpu"))
    once, again = (run(slices().numpy(), MEAN.numpy(), STD.numpy()) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert network.training
