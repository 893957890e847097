"""The recipe of brain-segmentation-pytorch (reference_recipe.py) in the time that every entrant has.

It trains on all patients and keeps the last weights, where the original keeps the epoch that is best on ten patients.
It computes in bfloat16 where the processor can, as this program does; the original computes in float32 on a GPU.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from data.patient import Volume
from data.preprocess import unfit
from model.device import Device, find_device
from model.inference.volume import without_small_components
from tests.benchmarks.entrants.contest import BATCH_SIZE, Task, Trained, read_patients
from tests.benchmarks.entrants.reference_recipe import LEARNING_RATE, UNet, change, dice_loss, draw_weights, prepare


def train_reference(task: Task) -> Trained:
    """Train until the time is up, with a constant learning rate."""
    prepared, masks, weights = [], [], []
    for patient in read_patients(task):
        volume = patient.read()
        inner = slice(1, -1) if len(volume.masks) > 2 else slice(None)  # the first and the last slice are left out
        one = prepare(volume.images[inner], task.reference_size)
        prepared.append(one.images)
        masks.append(one.fit(volume.masks[inner]))
        weights.append(draw_weights(masks[-1]))
    torch.manual_seed(0)
    device = find_device(channels_last_on_cpu=True)  # the fastest layout for batch norm
    network = device.move(UNet(prepared[0].shape[3]))
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    rng = np.random.default_rng(0)
    num_batches = 0
    while task.seconds_left > 0:
        batch = [_draw(prepared, masks, weights, rng) for _ in range(BATCH_SIZE)]
        images, targets = (np.ascontiguousarray(np.stack(kind)) for kind in zip(*batch, strict=True))
        loss = dice_loss(_forward(network, device, images), torch.from_numpy(targets).to(device.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        num_batches += 1
    num_slices = sum(map(len, prepared))
    epochs = round(num_batches / max(1, num_slices // BATCH_SIZE), 2)
    network.eval()
    return Trained(
        predict=lambda volume: _predict(network, device, volume, task.reference_size),
        facts={"trainings": 1, "epochs": epochs, "batches": num_batches, "size": task.reference_size},
    )


def _forward(network: nn.Module, device: Device, images: np.ndarray) -> Tensor:
    """Return the probabilities "slices height width" of images with channels last."""
    batch = device.put(images.transpose(0, 3, 1, 2))
    with device.autocast():
        logits = network(batch)
    return logits[:, 0].float().sigmoid()


def _draw(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray], weights: Sequence[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice of any patient and its mask, changed at random."""
    patient = int(rng.integers(len(images)))
    chosen = rng.choice(len(weights[patient]), p=weights[patient])
    return change(images[patient][chosen], masks[patient][chosen], rng)


@torch.inference_mode()
def _predict(network: nn.Module, device: Device, volume: Volume, size: int) -> np.ndarray:
    """Return the masks of a volume; only their largest component, as the original does."""
    prepared = prepare(volume.images, size)
    masks = np.zeros(volume.masks.shape, bool)
    inside = masks[prepared.box]
    for start in range(0, len(inside), BATCH_SIZE):
        found = _forward(network, device, prepared.images[start : start + BATCH_SIZE]).cpu().numpy()
        for index, probability in enumerate(found, start):
            inside[index] = unfit(probability, *inside.shape[1:]) >= 0.5
    return without_small_components(masks, 1.0)
