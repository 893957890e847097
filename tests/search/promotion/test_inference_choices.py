"""Choices on the validation patients: each is kept where it helps them, and only there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.preprocess import Preprocessing
from model.export.predictor import torch_network
from model.scoring.evaluate import evaluate
from model.settings import Settings
from model.unet import UNet, UNetConfig
from search.promotion.inference_choices import _compare_dices, choose_inference
from tests.support.fakes import write_lgg_patient
from tests.support.scans import scan_lgg as scan

CPU = torch.device("cpu")
SETTINGS = Settings(preprocessing=Preprocessing(size=16), channel_names=("pre", "flair", "post"))


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("choices")
    for seed, name in enumerate("ABCD"):
        write_lgg_patient(folder, name, tumour_numbers=(2, 10), seed=seed)
    return scan(folder).patients


class Bright(UNet):
    """Not a U-Net inside: its logit grows with FLAIR, shifted and scaled as asked."""

    def __init__(self, *, shift: float = 0.0, scale: float = 1.0, mirrored: bool = False) -> None:
        super().__init__(UNetConfig(depth=1, width=2))
        self.shift, self.scale, self.mirrored = shift, scale, mirrored

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        logits = self.scale * (slices[:, 1:2] - 1.5) - self.shift
        if self.mirrored:  # blind on the left half
            logits = torch.where(torch.arange(slices.shape[3]) < slices.shape[3] // 2, -4.0, logits)
        return logits


def by_name(choices):
    return {choice.name: choice for choice in choices}


def dice_of(predictor, settings, patients):
    return np.mean([score.dice for score in evaluate(torch_network(predictor, CPU), patients, settings=settings)])


def test_choose_lowers_the_threshold_of_an_underconfident_network(patients):
    predictor, settings, choices = choose_inference([Bright(shift=2.0)], SETTINGS, patients, CPU)
    threshold = by_name(choices)["threshold"]
    assert threshold.kept
    assert threshold.value < 0.5
    assert settings.thresholds == predictor.thresholds
    assert dice_of(predictor, replace(settings, component_share=0.0), patients) == pytest.approx(threshold.after)
    assert threshold.after > threshold.before


def test_choose_keeps_the_same_pixels_when_a_temperature_is_kept(patients):
    predictor, settings, choices = choose_inference([Bright(shift=2.0, scale=8.0)], SETTINGS, patients, CPU)
    found = by_name(choices)
    assert found["temperature"].kept
    assert found["temperature"].after < found["temperature"].before
    assert predictor.temperature == found["temperature"].value
    components = found["component_share"]
    expected = components.after if settings.component_share else components.before
    assert dice_of(predictor, settings, patients) == pytest.approx(expected)
    assert components.before == pytest.approx(max(found["threshold"].before, found["threshold"].after))


def test_choose_keeps_nothing_that_does_not_help(patients):
    torch.manual_seed(0)
    network = UNet(UNetConfig(depth=1, width=2))
    torch.nn.init.zeros_(network.head.weight)
    assert network.head.bias is not None
    torch.nn.init.constant_(network.head.bias, 10.0)  # every pixel is tumour, whatever is done
    predictor, settings, choices = choose_inference([network], SETTINGS, patients, CPU)
    assert [choice.name for choice in choices] == ["flips", "temperature", "threshold", "component_share"]
    assert not any(choice.kept for choice in choices if choice.name in ("flips", "threshold"))
    assert not predictor.flips
    assert settings.threshold == 0.5


def test_choose_keeps_flips_where_one_side_is_blind(patients):
    predictor, _, choices = choose_inference([Bright(mirrored=True, scale=3.0)], SETTINGS, patients, CPU)
    flips = by_name(choices)["flips"]
    assert predictor.flips == flips.kept == (flips.after > flips.before)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ([0.5, 0.5, 0.5], [0.6, 0.6, 0.6], True),
        ([0.5, 0.5, 0.5], [0.9, 0.5, 0.45], False),  # a gain of 0.12 with an error of 0.14
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], False),
        ([0.5, 0.5], [0.6, 0.6], False),  # two patients are too few to say
        ([np.nan], [np.nan], False),
    ],
)
def test_a_choice_is_kept_where_its_gain_exceeds_its_standard_error(before, after, kept):
    assert _compare_dices("threshold", 0.4, before, after).kept == kept


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ([0.5, 0.5, 0.5], [0.4, 0.4, 0.4], False),
        ([0.5, 0.5, 0.5], [0.1, 0.5, 0.55], True),  # a loss of 0.12 with an error of 0.14
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], True),
        ([0.5, 0.5], [0.4, 0.4], True),  # two patients are too few to say
    ],
)
def test_small_components_are_removed_unless_that_is_worse_by_more_than_its_error(before, after, kept):
    assert _compare_dices("component_share", 0.2, before, after, unless_worse=True).kept == kept
