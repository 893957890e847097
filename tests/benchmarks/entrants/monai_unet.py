# MONAI exports names without saying so, and annotates what its functions return as wider than it is.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false
"""MONAI's U-Net with the transforms of its tutorials, on slices.

The five widths, batch norm, AdamW, and the flips, affine maps and changes of intensity are those that MONAI's tutorials
combine; a batch has as many slices with tumour as without, as their random crops have. Two things suit a short time:
there are no residual units (the default of the class), because with them the logits come from a normalised channel,
which takes thousands of steps to learn that tumour is rare; and the learning rate begins at 0.005 and falls as a cosine
of the time that is used. This program decodes and resizes the slices.
"""

import math

import numpy as np
import torch
from monai.data import set_track_meta
from monai.losses.dice import DiceCELoss
from monai.networks.nets.unet import UNet
from monai.transforms import Compose, NormalizeIntensity
from monai.utils import set_determinism
from torch import Tensor, nn

from data.packing.pack import Pack, pack_patients
from data.patient import Volume
from data.preprocess import Preprocessing, prepare
from model.device import Device, find_device
from tests.benchmarks.entrants.contest import BATCH_SIZE, Task, Trained, read_patients
from tests.benchmarks.entrants.monai_recipe import random_transforms

WIDTHS = (16, 32, 64, 128, 256)
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 1e-5


def train_monai(task: Task) -> Trained:
    """Train until the time is up, and keep the last weights."""
    set_determinism(seed=0)
    set_track_meta(False)
    pack = pack_patients(read_patients(task), Preprocessing(size=task.size))
    images, masks = _images(pack), torch.from_numpy(pack.masks[:, None].astype(np.float32))
    device = find_device(channels_last_on_cpu=True)  # the fastest layout for batch norm
    network = UNet(
        spatial_dims=2,
        in_channels=images.shape[1],
        out_channels=1,
        channels=WIDTHS,
        strides=(2, 2, 2, 2),
        norm="batch",
    )
    network = device.move(network)
    loss_function = DiceCELoss(sigmoid=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    augment = Compose(random_transforms())
    rng = np.random.default_rng(0)
    began, num_batches = task.seconds_left, 0
    while (left := task.seconds_left) > 0:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * (1 - left / began))) / 2
        batch = [augment({"image": images[index], "mask": masks[index]}) for index in _draw(pack, rng)]
        logits = _forward(network, device, torch.stack([one["image"] for one in batch]))
        loss = loss_function(logits, torch.stack([one["mask"] for one in batch]).to(device.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        num_batches += 1
    network.eval()
    epochs = round(num_batches * BATCH_SIZE / pack.num_slices, 2)
    return Trained(
        predict=lambda volume: _predict(network, device, volume, pack.preprocessing),
        facts={"trainings": 1, "epochs": epochs, "batches": num_batches, "size": task.size},
    )


def _images(pack: Pack) -> Tensor:
    """Return the slices "slices channels size size", each patient's volume normalised by MONAI."""
    volumes = (pack.images[pack.patient_of_slice == patient] for patient in range(len(pack.patient_ids)))
    return torch.cat([_normalised(volume) for volume in volumes])


def _normalised(volume: np.ndarray) -> Tensor:
    """Return a volume "slices channels size size" with mean 0 and deviation 1 where a channel is not 0."""
    channels_first = torch.from_numpy(np.moveaxis(volume, 3, 0).astype(np.float32))
    return NormalizeIntensity(nonzero=True, channel_wise=True)(channels_first).transpose(0, 1).contiguous()


def _draw(pack: Pack, rng: np.random.Generator) -> np.ndarray:
    """Return the slices of a batch, half of them with tumour if there are both kinds."""
    kinds = [kind for kind in (np.flatnonzero(pack.tumour_slices), np.flatnonzero(~pack.tumour_slices)) if len(kind)]
    return np.concatenate([rng.choice(kind, BATCH_SIZE // len(kinds)) for kind in kinds])


def _forward(network: nn.Module, device: Device, images: Tensor) -> Tensor:
    batch = images.to(device.device, memory_format=device.memory_format)
    with device.autocast():
        logits = network(batch)
    return logits.float()


@torch.inference_mode()
def _predict(network: nn.Module, device: Device, volume: Volume, preprocessing: Preprocessing) -> np.ndarray:
    prepared = prepare(volume.images, preprocessing)
    images = _normalised(prepared.images)
    found = [
        prepared.unfit(probability) >= 0.5
        for batch in images.split(BATCH_SIZE)
        for probability in _forward(network, device, batch)[:, 0].sigmoid().cpu().numpy()
    ]
    return np.stack(found)
