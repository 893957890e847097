"""Whether a probability of 0.8 is right eight times in ten, and which threshold is best: from histograms of pixels.

A patient's millions of probabilities become two histograms of a few kilobytes, which add up over patients; so nothing
here needs more than one patient in memory. The bins are equally wide in the logit, where a network's outputs are spread
evenly: a pixel is taken to have the probability in the middle of its bin, wrong by at most 0.00625 (half a bin's width
of 0.05, times the sigmoid's steepest slope of 1/4). Probabilities beyond the last edges, 0.000006 and 0.999994, fall
into the end bins, so that a pixel that is certain and wrong costs 12 nats and not infinity.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from scipy.special import expit

BIN_WIDTH = 0.05
MAX_LOGIT = 12.0
NUM_BINS = round(2 * MAX_LOGIT / BIN_WIDTH)
LOGITS = (np.arange(NUM_BINS) + 0.5) * BIN_WIDTH - MAX_LOGIT
"""In the middle of each bin."""

# Between two bins: the lower bound of the upper one. float32 as the probabilities are, so that `probability >= edge`
# says the same as the bins do.
EDGES = expit((np.arange(1, NUM_BINS) - NUM_BINS // 2) * BIN_WIDTH).astype(np.float32)

THRESHOLDS: tuple[float, ...] = tuple(float(edge) for edge in EDGES if 0.05 <= edge <= 0.95)
"""Thresholds to choose from: all edges from 0.05 to 0.95, 0.5 among them. At these, Dice is exact."""

TEMPERATURES = (0.1, 10.0)
"""Bounds of a temperature: below 1 it makes a network surer, above 1 less sure."""


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """What became of the pixels whose probability was between low and high; nan where there are none."""

    low: float
    high: float
    mean_probability: float
    tumour_share: float
    num_pixels: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbabilityCounts:
    """Pixels by the logit of their probability, one histogram for tumour and one for the others."""

    tumour: Int64[np.ndarray, " bins"]
    other: Int64[np.ndarray, " bins"]

    def __add__(self, more: "ProbabilityCounts") -> "ProbabilityCounts":
        """Return the counts of the pixels of both."""
        return ProbabilityCounts(tumour=self.tumour + more.tumour, other=self.other + more.other)

    def dice(self, threshold: float) -> float:
        """Return the Dice of a mask from the threshold on; nan where prediction and mask are empty.

        Exact at the edges of bins, such as THRESHOLDS; any other threshold is moved to the edge that is nearest in
        probability, at most 0.00625 away.
        """
        return float(self.dices_at(nearest_edges([threshold]))[0])

    def dices_at(self, edges: Int64[np.ndarray, " thresholds"]) -> Float64[np.ndarray, " thresholds"]:
        """Return the Dice of masks from each of these places in EDGES on."""
        true, false = (counts[::-1].cumsum()[::-1][edges + 1] for counts in (self.tumour, self.other))
        total = true + false + self.tumour.sum()
        return np.divide(2 * true, total, out=np.full(len(total), math.nan), where=total > 0)

    def reliability(self, num_bins: int = 15) -> list[ReliabilityBin]:
        """Return the reliability curve: bins equally wide in probability, from 0 to 1."""
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
        """Return the mean distance between probability and share of tumour over the bins, weighted by their pixels.

        Over all pixels, most of which are far from any tumour and easy: small numbers are the rule, and only those of
        the same data can be compared. nan where there are no pixels. 15 bins are those of Guo et al. 2017.

        Reference: Naeini et al. 2015, AAAI, Obtaining well calibrated probabilities; Guo et al. 2017, arXiv:1706.04599.
        """
        filled = [row for row in self.reliability(num_bins) if row.num_pixels]
        gaps = [row.num_pixels * abs(row.mean_probability - row.tumour_share) for row in filled]
        return sum(gaps) / sum(row.num_pixels for row in filled) if filled else math.nan

    def negative_log_likelihood(self, temperature: float = 1.0) -> float:
        """Return the mean of -log(probability of what the pixel is), logits divided by the temperature; nats."""
        num_pixels = self.tumour.sum() + self.other.sum()
        logits = LOGITS / temperature
        loss = (self.tumour * np.logaddexp(0, -logits)).sum() + (self.other * np.logaddexp(0, logits)).sum()
        return float(loss / num_pixels) if num_pixels else math.nan

    def fit_temperature(self) -> float:
        """Return the temperature with the least negative log-likelihood, within TEMPERATURES; nan without pixels.

        Fit on validation patients: one that was fitted on the test patients says nothing of others.

        Reference: Guo et al. 2017, On calibration of modern neural networks, section 4.2, arXiv:1706.04599.
        """
        if not (self.tumour.any() or self.other.any()):
            return math.nan
        from scipy.optimize import minimize_scalar  # most of a second, which every command would take to begin

        # In the logarithm a tenth and ten are equally far; the loss is convex in 1 / T, so there is one valley.
        found = minimize_scalar(
            lambda log_temperature: self.negative_log_likelihood(math.exp(log_temperature)),
            bounds=[math.log(bound) for bound in TEMPERATURES],
            method="bounded",
        )
        return float(math.exp(found.x))


NO_PIXELS = ProbabilityCounts(tumour=np.zeros(NUM_BINS, np.int64), other=np.zeros(NUM_BINS, np.int64))
"""What a sum over patients begins with: `sum(per_patient, NO_PIXELS)`."""


def count_probabilities(
    probability: Float32[np.ndarray, "slices height width"], masks: Bool[np.ndarray, "slices height width"]
) -> ProbabilityCounts:
    """Return a patient's pixels by probability.

    Raises:
        ValueError: A probability is not a number.
    """
    if probability.size and np.isnan(probability.max()):
        raise ValueError("probabilities have nan among them, but must be from 0 to 1; the network has diverged")
    # torch's search uses all cores, numpy's one.
    places = torch.bucketize(torch.from_numpy(probability).ravel(), torch.from_numpy(EDGES), right=True, out_int32=True)
    tumour = np.bincount(places.numpy()[masks.ravel()], minlength=NUM_BINS)
    everything = np.bincount(places.numpy(), minlength=NUM_BINS)
    return ProbabilityCounts(tumour=tumour, other=everything - tumour)


def nearest_edges(thresholds: Sequence[float]) -> Int64[np.ndarray, " thresholds"]:
    """Return the places in EDGES that are nearest to these thresholds."""
    return np.abs(EDGES.astype(np.float64) - np.array(thresholds, np.float64)[:, None]).argmin(1)


def best_threshold(per_patient: Sequence[ProbabilityCounts], grid: Sequence[float] = THRESHOLDS) -> tuple[float, float]:
    """Return the threshold with the highest mean Dice over patients, and that mean, which is exact.

    Thresholds of the grid are moved to the nearest edge of a bin, and it is the edge that is returned. A patient whose
    Dice is nan is left out; of equals, the threshold nearest to 0.5 is taken, and 0.5 with nan where no patient has a
    Dice. Keeping the largest component alone, where a model does, comes after the threshold and is not counted here.

    Raises:
        ValueError: The grid is empty, or has what is no probability.
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
