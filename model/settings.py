"""The settings that a model needs besides its weights; they are stored in the model's file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from data.errors import UserError
from data.preprocess import Preprocessing
from data.readers.reader import FileKind
from data.readers.table import READERS

FORMAT = 4
"""Increased when a setting changes its meaning."""

FORMATS = (3, FORMAT)
"""The formats that are read. Format 3 has `largest_component` instead of `component_share`: true stands for 1."""


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
    """Lowest probability at which a pixel is tumour."""

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
        if type(self.threshold) not in (int, float) or not 0 < self.threshold < 1:
            raise ModelError(f"threshold is {self.threshold!r}, but must be above 0 and below 1")
        if not 0 <= self.component_share <= 1:
            raise ModelError(f"component_share is {self.component_share!r}, but must be from 0 to 1")

    @property
    def files(self) -> FileKind:
        """The kind of file that the model was trained on and can predict."""
        return READERS[self.data_format].files

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
            raise ModelError(f"settings are {text[:80]!r}, but this version reads formats 3 and {FORMAT}")
        if version == 3:
            _rename_largest_component(values)
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
            component_share=values["component_share"],
            data_format=values["data_format"],
            channel_indices=tuple(values["channel_indices"]),
            grayscale=values["grayscale"],
        )


def _check_types(values: Mapping[str, object]) -> None:
    """Check the types that JSON does not; `Settings` itself checks the rest."""
    for name in ("channel_names", "channel_indices"):
        if not isinstance(values[name], list):
            raise ModelError(f"{name} are {values[name]!r}, but must be a list")
    indices, data_format = values["channel_indices"], values["data_format"]
    assert isinstance(indices, list)
    if not all(type(index) is int and index >= 0 for index in indices):
        raise ModelError(f"channel_indices are {tuple(indices)!r}, but must be whole numbers from 0 on")
    if not isinstance(data_format, str) or data_format not in READERS:
        raise ModelError(f"data_format is {data_format!r}, but must be one of {', '.join(READERS)}")
    if type(share := values["component_share"]) not in (int, float):
        raise ModelError(f"component_share is {share!r}, but must be from 0 to 1")
    if type(values["grayscale"]) is not bool:
        raise ModelError(f"grayscale is {values['grayscale']!r}, but must be true or false")


def _rename_largest_component(values: dict[str, object]) -> None:
    """Give settings of format 3 the share of components that they describe."""
    largest = values.pop("largest_component", None)
    if type(largest) is not bool:
        raise ModelError(f"largest_component is {largest!r}, but must be true or false")
    values["component_share"] = float(largest)
