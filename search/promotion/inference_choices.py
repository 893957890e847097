"""How the promoted model predicts: what is chosen around its networks on the validation patients.

Mirror images and a threshold are each kept only if they raise the mean Dice by more than the standard error of that
gain over patients. So little is chosen on four patients, and only real gains on forty. Small components are removed
unless that lowers the mean Dice by more than its standard error: on LGG it helped patients on whom nothing was chosen,
while keeping only the largest component cost some patients most of their tumour (tests/benchmarks/LOG.md). A
temperature changes probabilities but hardly any mask; it is kept if it lowers the negative log-likelihood of the
validation pixels by at least one percent.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from data.patient import Patient
from model.export.predictor import Predictor, torch_network
from model.inference.volume import Network, predict_volume, to_masks
from model.scoring.calibration import NO_PIXELS, ProbabilityCounts, best_threshold, count_by_region
from model.scoring.evaluate import evaluate_patient
from model.scoring.summary import finite_mean
from model.segmentation_network import SegmentationNetwork
from model.settings import Settings
from search.promotion.ranking import ROUNDING, paired_gain
from search.record.model_metrics import InferenceChoice

MIN_CALIBRATION_GAIN = 0.01
"""Fraction by which a temperature must lower the negative log-likelihood of the validation pixels."""

MIN_PATIENTS = 3
"""Minimum number of patients with a Dice; a standard error over fewer says nothing."""

DEFAULT_THRESHOLD = 0.5

PatientCounts = dict[str, ProbabilityCounts]
"""The histograms of a patient's pixels, by the name of the region."""

COMPONENT_SHARE = 0.2
"""Components smaller than this share of the largest are removed. From 0.05 to 0.3 the gain was about the same."""


def choose_inference(
    networks: Sequence[SegmentationNetwork], settings: Settings, patients: Sequence[Patient], device: torch.device
) -> tuple[Predictor, Settings, tuple[InferenceChoice, ...]]:
    """Return the predictor, the settings of the prediction, and everything that was tried.

    Patients are predicted three or four times, one at a time. The temperature is applied before probabilities are
    resized to a patient's own size, which moves borders a little, so the threshold is chosen after it.
    """
    plain, flipped = (_count(Predictor(networks, flips=flips), settings, patients, device) for flips in (False, True))
    mirror = _compare_dices("flips", True, _dices(plain), _dices(flipped))
    counts = flipped if mirror.kept else plain
    calibration = _calibrate(counts)
    temperature = calibration.value if calibration.kept else 1.0
    if temperature != 1:
        counts = _count(Predictor(networks, flips=mirror.kept, temperature=temperature), settings, patients, device)
    settings, cuts = _choose_thresholds(counts, settings)
    predictor = Predictor(networks, flips=mirror.kept, temperature=temperature, threshold=settings.thresholds)
    settings, component = choose_components(predictor, settings, patients, device)
    return predictor, settings, (mirror, calibration, *cuts, component)


def _choose_thresholds(
    counts: Sequence[PatientCounts], settings: Settings
) -> tuple[Settings, tuple[InferenceChoice, ...]]:
    """Return the settings with a threshold for each region, and what was tried."""
    cuts, chosen = [], []
    for region in settings.regions:
        own = [{region.name: one[region.name]} for one in counts]
        best, _ = best_threshold([one[region.name] for one in counts])
        name = "threshold" if len(settings.regions) == 1 else f"threshold of {region.name}"
        cuts.append(_compare_dices(name, best, _dices(own), _dices(own, best)))
        chosen.append(best if cuts[-1].kept else DEFAULT_THRESHOLD)
    if len(chosen) == 1:
        return replace(settings, threshold=chosen[0]), tuple(cuts)
    return replace(settings, region_thresholds=tuple(chosen)), tuple(cuts)


def choose_components(
    predictor: Predictor, settings: Settings, patients: Sequence[Patient], device: torch.device
) -> tuple[Settings, InferenceChoice]:
    """Return the settings with the share below which components are removed, and what was tried.

    This choice carries over to networks of the same configuration that were trained longer or on more patients.
    Thresholds, temperatures and mirror images do not: one network may be as unsure as the other is sure.
    """
    component = _small_components(torch_network(predictor, device), settings, patients)
    return replace(settings, component_share=COMPONENT_SHARE if component.kept else 0.0), component


def _count(
    predictor: Predictor, settings: Settings, patients: Sequence[Patient], device: torch.device
) -> list[PatientCounts]:
    """Return how often each probability is predicted inside and outside each region, patient by patient."""
    network, counts = torch_network(predictor, device), []
    for patient in patients:
        volume = patient.read()
        probability = predict_volume(network, volume.images, settings.preprocessing)
        counts.append(count_by_region(probability, volume.masks, settings.regions))
    return counts


def _dices(counts: Sequence[PatientCounts], threshold: float = DEFAULT_THRESHOLD) -> list[float]:
    """Return each patient's mean Dice over the regions for which it is defined; nan if it is for none."""
    return [finite_mean(region.dice(threshold) for region in one.values()) for one in counts]


def _compare_dices(
    name: str,
    value: float | bool,
    before: Sequence[float],
    after: Sequence[float],
    *,
    unless_worse: bool = False,
) -> InferenceChoice:
    """Return the choice of a value.

    Args:
        unless_worse: It is kept unless it is worse by more than the standard error, not only if it is better.
    """
    gain, error = paired_gain(before, after)
    means = [finite_mean(dices) for dices in (before, after)]
    sign = -1 if unless_worse else 1
    enough = np.isfinite([before, after]).any(0).sum() >= MIN_PATIENTS
    return InferenceChoice(
        name=name,
        value=value,
        measure="mean Dice",
        before=means[0],
        after=means[1],
        kept=bool(enough and sign * gain > (1 + ROUNDING) * error) != unless_worse,
    )


def _calibrate(counts: Sequence[PatientCounts]) -> InferenceChoice:
    total = sum((region for one in counts for region in one.values()), NO_PIXELS)
    temperature = total.fit_temperature()
    before, after = (total.negative_log_likelihood(one) for one in (1.0, temperature))
    return InferenceChoice(
        name="temperature",
        value=temperature,
        measure="negative log-likelihood",
        before=before,
        after=after,
        kept=after < (1 - MIN_CALIBRATION_GAIN) * before,
    )


def _small_components(network: Network, settings: Settings, patients: Sequence[Patient]) -> InferenceChoice:
    dices: dict[float, list[float]] = {0.0: [], COMPONENT_SHARE: []}
    for patient in patients:
        volume = patient.read()
        probability = predict_volume(network, volume.images, settings.preprocessing)
        for share in dices:
            masks = to_masks(probability, replace(settings, component_share=share))
            dices[share].append(evaluate_patient(patient.id, masks, volume.masks, regions=settings.regions).dice)
    return _compare_dices("component_share", COMPONENT_SHARE, *dices.values(), unless_worse=True)
