"""Calibration, the best threshold and the temperature of a model, from histograms of its pixels' probabilities.

A patient's millions of probabilities become two histograms of a few kilobytes, which can be added up over patients, so
only one patient need be in memory. The bins have equal widths in the logit, over which a network's outputs spread
evenly. Every pixel is given the probability in the middle of its bin, which is wrong by at most 0.00625: half the bin
width of 0.05, times the steepest slope of the sigmoid, 1/4. The first and last bins take all probabilities below
0.000006 and above 0.999994, so a pixel that is certain and wrong costs 12 nats and not infinity.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from scipy.special import expit

from data.regions import Region, decode
from model.scoring.scores import Calibration, ReliabilityBin

BIN_WIDTH = 0.05
MAX_LOGIT = 12.0
NUM_BINS = round(2 * MAX_LOGIT / BIN_WIDTH)
LOGITS = (np.arange(NUM_BINS) + 0.5) * BIN_WIDTH - MAX_LOGIT
"""The logit in the middle of each bin."""

EDGES = expit((np.arange(1, NUM_BINS) - NUM_BINS // 2) * BIN_WIDTH).astype(np.float32)
"""The probabilities between neighbouring bins; each belongs to the upper one. They are float32, as probabilities are,
so that `probability >= edge` agrees with the bins."""

THRESHOLDS: tuple[float, ...] = tuple(float(edge) for edge in EDGES if 0.05 <= edge <= 0.95)
"""The thresholds to choose from: all edges from 0.05 to 0.95, with 0.5 among them. Dice is exact there."""

TEMPERATURES = (0.1, 10.0)
"""Bounds of the temperature. Below 1 it makes a network more confident, above 1 less."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbabilityCounts:
    """Histograms of pixels over the logit of their probability: one of tumour pixels, one of the others."""

    tumour: Int64[np.ndarray, " bins"]
    other: Int64[np.ndarray, " bins"]

    def __add__(self, more: "ProbabilityCounts") -> "ProbabilityCounts":
        """Return the counts of the pixels of both."""
        return ProbabilityCounts(tumour=self.tumour + more.tumour, other=self.other + more.other)

    def dice(self, threshold: float) -> float:
        """Return the Dice of the mask of pixels at or above the threshold; nan if prediction and mask are empty.

        A threshold that is not an edge of a bin is moved to the nearest edge, which is at most 0.00625 away.
        """
        return float(self.dices_at(nearest_edges([threshold]))[0])

    def dices_at(self, edges: Int64[np.ndarray, " thresholds"]) -> Float64[np.ndarray, " thresholds"]:
        """Return the Dice at each of several thresholds, which are given as indices into EDGES."""
        true, false = (counts[::-1].cumsum()[::-1][edges + 1] for counts in (self.tumour, self.other))
        total = true + false + self.tumour.sum()
        return np.divide(2 * true, total, out=np.full(len(total), math.nan), where=total > 0)

    def calibration(self) -> Calibration:
        """Return the calibration error, the negative log-likelihood and the reliability curve."""
        return Calibration(
            ece=self.expected_calibration_error(),
            nll=self.negative_log_likelihood(),
            bins=tuple(self.reliability()),
        )

    def reliability(self, num_bins: int = 15) -> list[ReliabilityBin]:
        """Return the reliability curve, in bins of equal widths from probability 0 to 1."""
        all_pixels, middle = self.tumour + self.other, expit(LOGITS)
        place = (middle * num_bins).astype(np.int64)  # below num_bins: the largest middle is below 1
        pixels, tumour, probability = (
            np.bincount(place, weights, num_bins) for weights in (all_pixels, self.tumour, all_pixels * middle)
        )
        return [
            ReliabilityBin(
                low=index / num_bins,
                high=(index + 1) / num_bins,
                mean_probability=float(probability[index] / pixels[index]) if pixels[index] else math.nan,
                tumour_share=float(tumour[index] / pixels[index]) if pixels[index] else math.nan,
                num_pixels=int(pixels[index]),
            )
            for index in range(num_bins)
        ]

    def expected_calibration_error(self, num_bins: int = 15) -> float:
        """Return the mean over pixels of the gap between the mean probability and the tumour share of their bin.

        It is nan without pixels. Most pixels are easy, because they are far from any tumour, so the number is usually
        small and can be compared only on the same data. Guo et al. use 15 bins.

        Reference: Naeini et al. 2015, AAAI, Obtaining well calibrated probabilities; Guo et al. 2017, arXiv:1706.04599.
        """
        filled = [row for row in self.reliability(num_bins) if row.num_pixels]
        gaps = [row.num_pixels * abs(row.mean_probability - row.tumour_share) for row in filled]
        return sum(gaps) / sum(row.num_pixels for row in filled) if filled else math.nan

    def negative_log_likelihood(self, temperature: float = 1.0) -> float:
        """Return the mean over pixels of -log(probability of the true class) in nats; nan without pixels.

        Logits are divided by the temperature first.
        """
        num_pixels = self.tumour.sum() + self.other.sum()
        logits = LOGITS / temperature
        loss = (self.tumour * np.logaddexp(0, -logits)).sum() + (self.other * np.logaddexp(0, logits)).sum()
        return float(loss / num_pixels) if num_pixels else math.nan

    def fit_temperature(self) -> float:
        """Return the temperature with the least negative log-likelihood, within TEMPERATURES; nan without pixels.

        Fit it on validation patients: if it is fitted on test patients, their calibration says nothing about others.

        Reference: Guo et al. 2017, On calibration of modern neural networks, section 4.2, arXiv:1706.04599.
        """
        if not (self.tumour.any() or self.other.any()):
            return math.nan
        from scipy.optimize import minimize_scalar  # here, because the import takes most of a second

        # In the logarithm, 0.1 and 10 are equally far from 1. The loss is convex in 1 / T, so it has one minimum.
        found = minimize_scalar(
            lambda log_temperature: self.negative_log_likelihood(math.exp(log_temperature)),
            bounds=[math.log(bound) for bound in TEMPERATURES],
            method="bounded",
        )
        return float(math.exp(found.x))


NO_PIXELS = ProbabilityCounts(tumour=np.zeros(NUM_BINS, np.int64), other=np.zeros(NUM_BINS, np.int64))
"""The start of a sum over patients: `sum(per_patient, NO_PIXELS)`."""


def count_probabilities(
    probability: Float32[np.ndarray, "slices height width"], masks: Bool[np.ndarray, "slices height width"]
) -> ProbabilityCounts:
    """Return the histograms of a patient's pixels.

    Raises:
        ValueError: A probability is nan.
    """
    if probability.size and np.isnan(probability.max()):
        raise ValueError("some probabilities are nan, but must be from 0 to 1; the network has diverged")
    # torch searches on all cores, numpy on one.
    places = torch.bucketize(torch.from_numpy(probability).ravel(), torch.from_numpy(EDGES), right=True, out_int32=True)
    tumour = np.bincount(places.numpy()[masks.ravel()], minlength=NUM_BINS)
    everything = np.bincount(places.numpy(), minlength=NUM_BINS)
    return ProbabilityCounts(tumour=tumour, other=everything - tumour)


def count_by_region(
    probability: Float32[np.ndarray, "regions slices height width"],
    masks: UInt8[np.ndarray, "slices height width"],
    regions: Sequence[Region],
) -> dict[str, ProbabilityCounts]:
    """Return the histograms of a patient's pixels for each region, by its name; the masks are bits.

    Raises:
        ValueError: A probability is nan.
    """
    parts = zip(regions, probability, decode(masks, len(regions)), strict=True)
    return {region.name: count_probabilities(found, mask) for region, found, mask in parts}


def nearest_edges(thresholds: Sequence[float]) -> Int64[np.ndarray, " thresholds"]:
    """Return the indices of the EDGES that are nearest to these thresholds."""
    return np.abs(EDGES.astype(np.float64) - np.array(thresholds, np.float64)[:, None]).argmin(1)


def best_threshold(per_patient: Sequence[ProbabilityCounts], grid: Sequence[float] = THRESHOLDS) -> tuple[float, float]:
    """Return the threshold with the highest mean Dice over patients, and that mean, which is exact.

    Each threshold of the grid is moved to the nearest edge of a bin, and the best edge is returned. Patients whose Dice
    is nan are left out. If several thresholds are equally good, the one nearest to 0.5 is returned; if no patient has a
    Dice, 0.5 and nan are. A model that removes small components does so after the threshold, so this Dice does
    not account for it.

    Raises:
        ValueError: The grid is empty, or has a value that is not between 0 and 1.
    """
    if not len(grid) or not all(0 < threshold < 1 for threshold in grid):
        raise ValueError(f"grid is {list(grid)}, but must be at least one threshold above 0 and below 1")
    edges = np.unique(nearest_edges(grid))
    dices = np.array([counts.dices_at(edges) for counts in per_patient]).reshape(-1, len(edges))
    defined = np.isfinite(dices)
    if not defined.any():
        return 0.5, math.nan
    total, number = np.where(defined, dices, 0).sum(0), defined.sum(0)
    means = np.divide(total, number, out=np.full(len(edges), -math.inf), where=number > 0)
    best = min(np.flatnonzero(means == means.max()), key=lambda place: abs(float(EDGES[edges[place]]) - 0.5))
    return float(EDGES[edges[best]]), float(means[best])
