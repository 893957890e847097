"""The one path from a patient's slices to probabilities and masks.

Evaluation, the proof of an export, the command and the service all take it, so what was scored is what a user gets, up
to the rounding of the precision that a runtime computes in: float32, or bfloat16 where OpenVINO runs
(model.inference.runtime).
Nothing here, or below, imports torch: a model runs with the `infer` extra alone.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float32, Shaped

from data.preprocess import Prepared, Preprocessing, as_channels, neighbours, prepare
from model.settings import Settings

Network = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""What runs one batch: (raw slices, float32 "batch channels size size"; mean and std of their volume, each float32
"channels") to probabilities, float32 "batch size size"."""


def predict_volume(
    network: Network,
    images: Shaped[np.ndarray, "slices height width channels"],
    preprocessing: Preprocessing,
    *,
    batch_size: int = 16,
) -> Float32[np.ndarray, "slices height width"]:
    """Return the probability of tumour of every pixel of a patient, at the slices' own resolution.

    All slices of the patient belong into one call: intensities are normalised over the whole volume.
    """
    return predict_prepared(network, prepare(images, preprocessing), preprocessing, batch_size=batch_size)


def predict_prepared(
    network: Network, prepared: Prepared, preprocessing: Preprocessing, *, batch_size: int = 16
) -> Float32[np.ndarray, "slices height width"]:
    """Return what `predict_volume` returns, of a volume that was prepared before, in another thread perhaps."""
    mean, std = (np.tile(one, preprocessing.num_slices_seen) for one in (prepared.mean, prepared.std))
    num_slices = len(prepared.images)
    one_patient = np.zeros(num_slices, np.int64)
    probability = np.empty((num_slices, *prepared.shape), np.float32)
    for start in range(0, num_slices, batch_size):
        chosen = np.arange(start, min(start + batch_size, num_slices))
        seen = as_channels(prepared.images[neighbours(chosen, one_patient, preprocessing.context_slices)])
        batch = np.ascontiguousarray(seen.transpose(0, 3, 1, 2), np.float32)
        for index, found in enumerate(network(batch, mean, std), start):
            probability[index] = prepared.unfit(found)
    return probability


def to_masks(
    probability: Float32[np.ndarray, "slices height width"], settings: Settings
) -> Bool[np.ndarray, "slices height width"]:
    """Return the masks of a patient: pixels from the threshold on, and of them the largest component if so set."""
    masks = probability >= settings.threshold
    return largest_component(masks) if settings.largest_component else masks


def largest_component(masks: Bool[np.ndarray, "slices height width"]) -> Bool[np.ndarray, "slices height width"]:
    """Return the largest connected part of the masks; corners connect, and of equal parts the first is kept."""
    from scipy import ndimage  # here, because few models need it

    labels, num_found = ndimage.label(masks, structure=np.ones((3, 3, 3)))
    if num_found < 2:
        return masks
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()
