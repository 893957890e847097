"""The one path from a patient's volume to probabilities and masks.

Evaluation, the check of an export, `model.predict` and `model.serve` all take this path, so users get the masks that
were scored, up to the rounding of the runtime's precision: float32, or bfloat16 in OpenVINO (model.inference.runtime).
Neither this module nor those that it imports need torch: a model runs with the `infer` extra alone.
"""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Shaped

from data.preprocess import Prepared, Preprocessing, as_channels, neighbours, prepare
from data.regions import nest
from model.settings import Settings

Network = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""A function that runs one batch. It takes raw slices (float32 "batch channels size size") and the mean and standard
deviation of their volume (float32 "channels" each), and returns probabilities (float32 "batch regions size size")."""


def with_regions(probability: Float32[np.ndarray, "batch *regions height width"]) -> np.ndarray:
    """Return probabilities "batch regions height width"; a model of one region leaves out the axis of regions."""
    return probability[:, None] if probability.ndim == 3 else probability


def predict_volume(
    network: Network,
    images: Shaped[np.ndarray, "slices height width channels"],
    preprocessing: Preprocessing,
    *,
    batch_size: int = 16,
) -> Float32[np.ndarray, "regions slices height width"]:
    """Return the probability of each region for every pixel of a patient, at the resolution of the slices.

    Pass all slices of the patient in one call: intensities are normalised over the whole volume.
    """
    return predict_prepared(network, prepare(images, preprocessing), preprocessing, batch_size=batch_size)


def predict_prepared(
    network: Network, prepared: Prepared, preprocessing: Preprocessing, *, batch_size: int = 16
) -> Float32[np.ndarray, "regions slices height width"]:
    """Return the same as `predict_volume`, for a volume that has already been prepared, perhaps in another thread."""
    mean, std = (np.tile(one, preprocessing.num_slices_seen) for one in (prepared.mean, prepared.std))
    num_slices = len(prepared.images)
    one_patient = np.zeros(num_slices, np.int64)
    probability = None
    for start in range(0, num_slices, batch_size):
        chosen = np.arange(start, min(start + batch_size, num_slices))
        seen = as_channels(prepared.images[neighbours(chosen, one_patient, preprocessing.context_slices)])
        batch = np.ascontiguousarray(seen.transpose(0, 3, 1, 2), np.float32)
        for index, found in enumerate(network(batch, mean, std), start):
            if probability is None:
                probability = np.empty((len(found), num_slices, *prepared.shape), np.float32)
            for region, one in enumerate(found):
                probability[region, index] = prepared.unfit(one)
    return np.empty((1, 0, *prepared.shape), np.float32) if probability is None else probability


def to_masks(
    probability: Float32[np.ndarray, "regions slices height width"], settings: Settings
) -> Bool[np.ndarray, "regions slices height width"]:
    """Return the mask of each region of a patient: pixels at or above its threshold, without small components if so
    set. A region that is part of another one stays inside of that one.
    """
    masks = probability >= np.array(settings.thresholds, np.float32)[:, None, None, None]
    if settings.component_share:
        masks = np.stack([without_small_components(mask, settings.component_share) for mask in masks])
    return nest(masks, settings.regions)


def without_small_components(
    masks: Bool[np.ndarray, "slices height width"], share: float
) -> Bool[np.ndarray, "slices height width"]:
    """Return the masks without the connected components that are smaller than a share of the largest one.

    Pixels that touch at a corner are connected.
    """
    labels, num_found = _components(masks)
    if num_found < 2:
        return masks
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = np.flatnonzero(sizes >= max(1.0, share * sizes.max()))
    return np.isin(labels, kept)


def _components(masks: Bool[np.ndarray, "slices height width"]) -> tuple[np.ndarray, int]:
    """Return the number of each pixel's connected component, 0 outside, and how many components there are."""
    if len(masks) == 1:  # the import of scipy takes as long as a third of the prediction of one slice
        num_labels, labels = cv2.connectedComponents(masks[0].astype(np.uint8), connectivity=8)
        return labels[None], num_labels - 1
    from scipy import ndimage  # imported late, because few models need it

    # pyright infers a lone int too, which scipy returns only with `output=`.
    return ndimage.label(masks, structure=np.ones((3, 3, 3)))  # pyright: ignore[reportReturnType]
