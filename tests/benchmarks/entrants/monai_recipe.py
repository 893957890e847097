"""The random transforms that MONAI's tutorials combine, on slices."""

# MONAI exports names without saying so.
# pyright: reportPrivateImportUsage=false

import math

from monai.transforms import (
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandShiftIntensityd,
    Transform,
)

KEYS = ("image", "mask")
"""The names of a slice and of its mask in the dictionaries that MONAI transforms."""


def random_transforms() -> list[Transform]:
    """Return the transforms, which change a slice and its mask alike."""
    return [
        RandFlipd(KEYS, prob=0.5, spatial_axis=1),  # left and right of a head look alike, up and down do not
        RandAffined(
            KEYS,
            prob=0.5,
            rotate_range=math.radians(15),
            scale_range=(0.1, 0.1),
            mode=("bilinear", "nearest"),
            padding_mode="zeros",
        ),
        RandScaleIntensityd("image", factors=0.1, prob=1.0),
        RandShiftIntensityd("image", offsets=0.1, prob=1.0),
        RandGaussianNoised("image", prob=0.15, std=0.1),
    ]
