"""The settings that a model needs besides its weights; they are stored in the model's file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from data.errors import DataError, UserError
from data.preprocess import Preprocessing
from data.readers.reader import FileKind
from data.readers.table import READERS
from data.regions import MAX_REGIONS, WHOLE, Region, parse_regions

FORMAT = 5
"""Increased when a setting changes its meaning."""

FORMATS = (3, 4, FORMAT)
"""The formats that are read. Format 4 has one region and no name for it. Format 3 has `largest_component` instead of
`component_share`: true stands for 1."""


MAX_NAME = 200
"""Longest name of a channel or a region, in characters; such names are printed."""


class ModelError(UserError):
    """A file is not a model of this program, or a model does not suit the images."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How images are turned into the input of a model, and its probabilities into masks."""

    preprocessing: Preprocessing
    """The preprocessing that the model was trained with."""

    channel_names: tuple[str, ...]
    """Names of the channels of a slice, in order, without those of its context slices."""

    threshold: float = 0.5
    """Lowest probability at which a pixel is tumour, if `region_thresholds` do not say another one for a region."""

    regions: tuple[Region, ...] = WHOLE
    """The regions whose probabilities the model computes, in order."""

    region_thresholds: tuple[float, ...] = ()
    """The threshold of each of several regions, in order; empty if it is `threshold` for all."""

    component_share: float = 0.0
    """Connected components of a patient's mask that are smaller than this share of the largest one are removed; 0
    removes none, 1 keeps only the largest."""

    data_format: str = "lgg"
    """Layout of the data that the model was trained on, a name in READERS."""

    channel_indices: tuple[int, ...] = ()
    """Indices of the channels in an image file, from 0; empty for all."""

    grayscale: bool = False
    """Whether the colours of an image file are converted to one channel."""

    def __post_init__(self) -> None:
        if not self.channel_names or not all(isinstance(name, str) for name in self.channel_names):
            raise ModelError(f"channel_names are {self.channel_names!r}, but must be at least one name")
        for threshold in (self.threshold, *self.region_thresholds):
            if type(threshold) not in (int, float) or not 0 < threshold < 1:
                raise ModelError(f"threshold is {threshold!r}, but must be above 0 and below 1")
        num_regions, num_thresholds = len(self.regions), len(self.region_thresholds)
        if not 1 <= num_regions <= MAX_REGIONS or num_thresholds not in (0, num_regions if num_regions > 1 else 0):
            raise ModelError(
                f"there are {num_regions} regions and {num_thresholds} thresholds for them, but there must be 1 to "
                f"{MAX_REGIONS} regions, and of several a threshold for each or for none"
            )
        if not 0 <= self.component_share <= 1:
            raise ModelError(f"component_share is {self.component_share!r}, but must be from 0 to 1")

    @property
    def files(self) -> FileKind:
        """The kind of file that the model was trained on and can predict."""
        return READERS[self.data_format].files

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The lowest probability at which a pixel lies in each region, in order."""
        return self.region_thresholds or (self.threshold,) * len(self.regions)

    @property
    def threshold_by_region(self) -> dict[str, float]:
        """The threshold of each of several regions by its name; nothing if there is one region."""
        pairs = zip(self.regions, self.thresholds, strict=True)
        return {region.name: threshold for region, threshold in pairs} if len(self.regions) > 1 else {}

    @property
    def num_channels(self) -> int:
        """Number of channels of a slice, without those of its context slices."""
        return len(self.channel_names)

    @property
    def num_inputs(self) -> int:
        """Number of channels that the network sees: those of a slice and of its context slices."""
        return self.num_channels * self.preprocessing.num_slices_seen

    def to_json(self) -> str:
        """Return the text that is stored with a model; `from_json` reads it."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Return the settings that `to_json` wrote.

        Raises:
            ModelError: The text does not hold settings, or has another format.
        """
        try:
            values = dict(json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise ModelError(f"settings are {text[:80]!r}, but must be a JSON object") from error
        if (version := values.pop("format", None)) not in FORMATS:
            raise ModelError(f"settings are {text[:80]!r}, but this version reads formats 3 to {FORMAT}")
        if version == 3:
            _rename_largest_component(values)
        if version != FORMAT:
            values |= {"regions": [{"name": WHOLE[0].name, "labels": []}], "region_thresholds": []}
        names = {field.name for field in fields(cls)}
        if values.keys() != names:
            raise ModelError(f"settings have {sorted(values)}, but must have exactly {sorted(names)}")
        _check_types(values)
        try:
            preprocessing = Preprocessing(**values["preprocessing"])
        except (TypeError, UserError) as error:
            raise ModelError(f"settings have a preprocessing that is not legal: {error}") from error
        return cls(
            preprocessing=preprocessing,
            channel_names=tuple(values["channel_names"]),
            threshold=values["threshold"],
            regions=_regions(values["regions"]),
            region_thresholds=tuple(values["region_thresholds"]),
            component_share=values["component_share"],
            data_format=values["data_format"],
            channel_indices=tuple(values["channel_indices"]),
            grayscale=values["grayscale"],
        )


def _check_types(values: Mapping[str, object]) -> None:
    """Check the types that JSON does not; `Settings` itself checks the rest."""
    for name in ("channel_names", "channel_indices", "regions", "region_thresholds"):
        if not isinstance(values[name], list):
            raise ModelError(f"{name} are {values[name]!r}, but must be a list")
    names, indices, data_format = values["channel_names"], values["channel_indices"], values["data_format"]
    assert isinstance(names, list)
    assert isinstance(indices, list)
    if not all(isinstance(name, str) and _is_name(name) for name in names):
        raise ModelError(f"channel_names are {str(names)[:80]!r}, but must be names of 1 to {MAX_NAME} characters")
    if not all(type(index) is int and index >= 0 for index in indices):
        raise ModelError(f"channel_indices are {tuple(indices)!r}, but must be whole numbers from 0 on")
    if not isinstance(data_format, str) or data_format not in READERS:
        raise ModelError(f"data_format is {data_format!r}, but must be one of {', '.join(READERS)}")
    if type(share := values["component_share"]) not in (int, float):
        raise ModelError(f"component_share is {share!r}, but must be from 0 to 1")
    if type(values["grayscale"]) is not bool:
        raise ModelError(f"grayscale is {values['grayscale']!r}, but must be true or false")


def _regions(values: Sequence[Any]) -> tuple[Region, ...]:
    """Return the regions in settings."""
    try:
        regions = tuple(Region(name=one["name"], labels=tuple(one["labels"])) for one in values)
        if not all(isinstance(one.name, str) and _is_name(one.name) for one in regions):
            raise TypeError
        if any(type(label) is not int for one in regions for label in one.labels):
            raise TypeError
        if len(regions) > 1:
            parse_regions([f"{one.name}={','.join(map(str, one.labels))}" for one in regions])
    except (DataError, TypeError, KeyError, IndexError) as error:
        raise ModelError(f"regions are {str(values)[:80]}, but must be names with lists of labels") from error
    return regions


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isprintable()


def _rename_largest_component(values: dict[str, object]) -> None:
    """Give settings of format 3 the share of components that they describe."""
    largest = values.pop("largest_component", None)
    if type(largest) is not bool:
        raise ModelError(f"largest_component is {largest!r}, but must be true or false")
    values["component_share"] = float(largest)
