"""How others train, written plainly: a typical public pipeline, MONAI's, and that of brain-segmentation-pytorch."""

# MONAI exports names without saying so, and annotates what its functions return as wider than it is.
# pyright: reportPrivateImportUsage=false, reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from data.patient import SliceFiles
from model.device import find_device
from tests.benchmarks.entrants import reference_recipe as reference
from tests.benchmarks.throughput.own import synchronise
from tests.benchmarks.throughput.workload import NUM_PROCESSES, Missing, Workload


class _Peer:
    """Steps over the batches of a loader that begins again when it is through."""

    def __init__(self, workload: Workload, network: nn.Module, loader: Any, *, learning_rate: float) -> None:
        self._device = find_device().device
        self._network = network.to(self._device)
        self._optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
        self._num_batches = workload.num_batches
        self._batches = _endless(loader)

    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the loss of a batch."""
        raise NotImplementedError

    def train(self) -> None:
        """Take the steps of a round."""
        for _ in range(self._num_batches):
            images, masks = (one.to(self._device) for one in next(self._batches))
            self._optimizer.zero_grad()
            self.loss(self._network(images), masks).backward()
            self._optimizer.step()
        synchronise()


class Typical(_Peer):
    """A Dataset that opens TIFFs and augments with albumentations, a DataLoader with two workers, float32."""

    def __init__(self, workload: Workload) -> None:
        if not workload.files:
            raise Missing("DATA whose slices are TIFF files")
        loader = DataLoader(
            _Tiffs(workload.files, workload.pack.size),
            batch_size=workload.batch_size,
            sampler=_as_often_with_tumour(workload),
            num_workers=NUM_PROCESSES,
            persistent_workers=True,
            drop_last=True,
        )
        network = reference.UNet(workload.pack.num_channels, features=workload.width)
        super().__init__(workload, network, loader, learning_rate=1e-3)

    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the sum of binary cross-entropy and Dice loss."""
        return F.binary_cross_entropy_with_logits(logits, masks) + reference.dice_loss(logits.sigmoid(), masks)


class _Tiffs(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, files: list[SliceFiles], size: int) -> None:
        import albumentations as A

        self._files = files
        self._transform = A.Compose(
            [
                A.Resize(size, size),
                A.HorizontalFlip(p=0.5),
                A.Affine(rotate=(-12, 12), translate_percent=(-0.05, 0.05), scale=(0.9, 1.1), p=0.8),
                A.ElasticTransform(alpha=100, sigma=8, p=0.2),
                A.RandomGamma(gamma_limit=(74, 135), p=0.5),
                A.RandomBrightnessContrast(brightness_limit=0.05, contrast_limit=0.2, p=0.5),
                A.GaussNoise(std_range=(0.005, 0.02), p=0.2),
                A.Normalize(),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        import tifffile

        one = self._files[index]
        image = tifffile.imread(one.image)
        mask = np.zeros(image.shape[:2], np.uint8) if one.mask is None else tifffile.imread(one.mask)
        found = self._transform(image=image, mask=(mask > 0).astype(np.uint8))
        return torch.from_numpy(found["image"].transpose(2, 0, 1)), torch.from_numpy(found["mask"][None]).float()


class Monai(_Peer):
    """CacheDataset with MONAI's transforms, its loader with two workers, its BasicUNet of as many features."""

    def __init__(self, workload: Workload) -> None:
        try:
            from monai.data import CacheDataset
            from monai.data import DataLoader as MonaiLoader
            from monai.losses.dice import DiceCELoss
            from monai.networks.nets.basic_unet import BasicUNet
        except ImportError as error:
            raise Missing("the package monai") from error
        self._loss = DiceCELoss(sigmoid=True)
        cached = CacheDataset(_arrays(workload), _monai_transforms(workload.pack.size), progress=False)
        loader = MonaiLoader(
            cached,
            batch_size=workload.batch_size,
            sampler=_as_often_with_tumour(workload),
            num_workers=NUM_PROCESSES,
            persistent_workers=True,
            drop_last=True,
            collate_fn=_collate,
        )
        widths = tuple(workload.width * 2**level for level in range(5))
        channels = workload.pack.num_channels
        network = BasicUNet(2, channels, 1, features=(*widths, workload.width))
        super().__init__(workload, network, loader, learning_rate=1e-3)

    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return MONAI's sum of Dice loss and cross-entropy."""
        return self._loss(logits, masks)


def _arrays(workload: Workload) -> list[dict[str, np.ndarray]]:
    volumes = [patient.read() for patient in workload.patients]
    return [
        {"image": image.transpose(2, 0, 1), "mask": mask[None] > 0}
        for volume in volumes
        for image, mask in zip(volume.images, volume.masks, strict=True)
    ]


def _monai_transforms(size: int) -> Any:
    from monai.transforms import Compose, EnsureTyped, NormalizeIntensityd, Resized

    from tests.benchmarks.entrants.monai_recipe import KEYS, random_transforms

    cached = [
        EnsureTyped(KEYS, dtype=torch.float32, track_meta=False),
        Resized(KEYS, (size, size), mode=("bilinear", "nearest")),
        NormalizeIntensityd("image", nonzero=True, channel_wise=True),
    ]
    return Compose([*cached, *random_transforms()])  # CacheDataset keeps what comes before the first random one


def _collate(batch: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([one["image"] for one in batch]), torch.stack([one["mask"] for one in batch])


class Reference(_Peer):
    """Volumes in memory, slices drawn by the area of tumour, scaled, rotated and mirrored; batch norm, Dice loss."""

    def __init__(self, workload: Workload) -> None:
        images, masks, weights = [], [], []
        for patient in workload.patients:
            volume = patient.read()
            one = reference.prepare(volume.images, workload.pack.size)
            images.append(one.images)
            masks.append(one.fit(volume.masks))
            weights.append(reference.draw_weights(masks[-1]))
        sampler = WeightedRandomSampler(np.concatenate(weights).tolist(), workload.num_batches * workload.batch_size)
        loader = DataLoader(
            _Volumes(np.concatenate(images), np.concatenate(masks)),
            batch_size=workload.batch_size,
            sampler=sampler,
            num_workers=NUM_PROCESSES,
            persistent_workers=True,
            drop_last=True,
        )
        network = reference.UNet(workload.pack.num_channels, features=workload.width)
        super().__init__(workload, network, loader, learning_rate=reference.LEARNING_RATE)

    def loss(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Return the Dice loss."""
        return reference.dice_loss(logits.sigmoid(), masks)


class _Volumes(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, images: np.ndarray, masks: np.ndarray) -> None:
        self._images, self._masks = images, masks

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        cv2.setNumThreads(0)
        rng = np.random.default_rng(int(torch.randint(2**31, ()).item()))
        image, mask = reference.change(self._images[index], self._masks[index], rng)
        return (
            torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
            torch.from_numpy(np.ascontiguousarray(mask[None])),
        )


def _as_often_with_tumour(workload: Workload) -> WeightedRandomSampler:
    """Return a sampler that draws slices with tumour as often as slices without, as this program does."""
    has_tumour = workload.pack.tumour_slices
    weights = np.where(has_tumour, 1 / max(1, has_tumour.sum()), 1 / max(1, (~has_tumour).sum()))
    return WeightedRandomSampler(weights.tolist(), workload.num_batches * workload.batch_size)


def _endless(loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader
