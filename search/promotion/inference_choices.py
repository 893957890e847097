"""What is done around the winning networks, chosen on the validation patients: each kept only if it helps.

To help is to raise the mean Dice by more than the standard error of the gain over patients, so that on four patients
little is chosen, and on forty what is really there. A temperature, which changes probabilities and hardly a mask, is
kept if it lowers the negative log-likelihood of all validation pixels by a hundredth.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from data.patient import Patient
from model.export.predictor import Predictor, torch_network
from model.inference.volume import Network, predict_volume, to_masks
from model.scoring.calibration import NO_PIXELS, ProbabilityCounts, best_threshold, count_probabilities
from model.scoring.evaluate import evaluate_patient
from model.segmentation_network import SegmentationNetwork
from model.settings import Settings
from search.promotion.candidates import ROUNDING, paired_gain

MIN_CALIBRATION_GAIN = 0.01
"""Share by which a temperature must lower the negative log-likelihood of the validation pixels."""


MIN_PATIENTS = 3
"""Patients with a Dice below which a standard error says nothing."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Something that was tried on the validation patients."""

    name: str
    value: float | bool
    measure: str
    """What was compared: mean Dice (more is better) or negative log-likelihood (less is)."""

    before: float
    after: float
    kept: bool


def choose_inference(
    networks: Sequence[SegmentationNetwork], settings: Settings, patients: Sequence[Patient], device: torch.device
) -> tuple[Predictor, Settings, list[Choice]]:
    """Return the networks with what helps around them, the settings with what helps after them, and what was tried.

    Patients are predicted three or four times, one at a time. A temperature is applied before probabilities are resized
    to a patient's own size, so it moves borders a little, and the threshold is chosen after it.
    """
    plain, flipped = (_count(Predictor(networks, flips=flips), settings, patients, device) for flips in (False, True))
    choices = [_compare("flips", True, _dices(plain, 0.5), _dices(flipped, 0.5))]
    flips = choices[-1].kept
    counts = flipped if flips else plain
    choices.append(_calibrate(counts))
    temperature = choices[-1].value if choices[-1].kept else 1.0
    if temperature != 1:
        counts = _count(Predictor(networks, flips=flips, temperature=temperature), settings, patients, device)
    found, _ = best_threshold(counts)
    choices.append(_compare("threshold", found, _dices(counts, 0.5), _dices(counts, found)))
    settings = replace(settings, threshold=found if choices[-1].kept else 0.5)
    predictor = Predictor(networks, flips=flips, temperature=temperature, threshold=settings.threshold)
    choices.append(_largest_component(torch_network(predictor, device), settings, patients))
    return predictor, replace(settings, largest_component=choices[-1].kept), choices


def _count(
    predictor: Predictor, settings: Settings, patients: Sequence[Patient], device: torch.device
) -> list[ProbabilityCounts]:
    network, counts = torch_network(predictor, device), []
    for patient in patients:
        volume = patient.read()
        counts.append(count_probabilities(predict_volume(network, volume.images, settings.preprocessing), volume.masks))
    return counts


def _dices(counts: Sequence[ProbabilityCounts], threshold: float) -> list[float]:
    return [one.dice(threshold) for one in counts]


def _compare(name: str, value: Any, before: Sequence[float], after: Sequence[float]) -> Choice:
    gain, error = paired_gain(before, after)
    means = [float(np.nanmean(dices)) if np.isfinite(dices).any() else float("nan") for dices in (before, after)]
    enough = np.isfinite([before, after]).any(0).sum() >= MIN_PATIENTS
    return Choice(
        name=name,
        value=value,
        measure="mean Dice",
        before=means[0],
        after=means[1],
        kept=bool(enough and gain > (1 + ROUNDING) * error),
    )


def _calibrate(counts: Sequence[ProbabilityCounts]) -> Choice:
    total = sum(counts, NO_PIXELS)
    temperature = total.fit_temperature()
    before, after = (total.negative_log_likelihood(one) for one in (1.0, temperature))
    return Choice(
        name="temperature",
        value=temperature,
        measure="negative log-likelihood",
        before=before,
        after=after,
        kept=after < (1 - MIN_CALIBRATION_GAIN) * before,
    )


def _largest_component(network: Network, settings: Settings, patients: Sequence[Patient]) -> Choice:
    dices = {False: [], True: []}
    for patient in patients:
        volume = patient.read()
        probability = predict_volume(network, volume.images, settings.preprocessing)
        for kept in dices:
            masks = to_masks(probability, replace(settings, largest_component=kept))
            dices[kept].append(evaluate_patient(patient.id, masks, volume.masks).dice)
    return _compare("largest_component", True, dices[False], dices[True])
