"""What must be known beside the weights to use a model; it travels inside the model's file."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from data.errors import UserError
from data.preprocess import Preprocessing
from data.readers.reader import FileKind
from data.readers.table import READERS

FORMAT = 3
"""Raised when a setting changes meaning; a model of another format is refused."""


class ModelError(UserError):
    """A file that is not a model of this program, or a model that does not suit the images."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How images become a model's input, and its probabilities a mask."""

    preprocessing: Preprocessing
    """As in training."""

    channel_names: tuple[str, ...]
    """Of a slice's channels, in order, without its context."""

    threshold: float = 0.5
    """Probability from which on a pixel is tumour."""

    largest_component: bool = False
    """Whether of a patient's mask only the largest connected part is kept."""

    data_format: str = "lgg"
    """Layout of the patients that it was trained on, a name in READERS."""

    channel_indices: tuple[int, ...] = ()
    """Which channels of an image file the channels are, from 0; empty for all."""

    grayscale: bool = False
    """Whether the colours of an image file become one channel."""

    def __post_init__(self) -> None:
        if not self.channel_names or not all(isinstance(name, str) for name in self.channel_names):
            raise ModelError(f"channel_names are {self.channel_names!r}, but must be at least one name")
        if type(self.threshold) not in (int, float) or not 0 < self.threshold < 1:
            raise ModelError(f"threshold is {self.threshold!r}, but must be above 0 and below 1")

    @property
    def files(self) -> FileKind:
        """The kind of files that it was trained on, and predicts."""
        return READERS[self.data_format].files

    @property
    def num_channels(self) -> int:
        """Channels of a slice, without its context."""
        return len(self.channel_names)

    @property
    def num_inputs(self) -> int:
        """Channels that the network sees: those of a slice and of its context."""
        return self.num_channels * self.preprocessing.num_slices_seen

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """Return the settings that `to_json` wrote.

        Raises:
            ModelError: The text is not that of settings, or of another format.
        """
        try:
            values = dict(json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise ModelError(f"settings are {text[:80]!r}, but must be a JSON object") from error
        if values.pop("format", None) != FORMAT:
            raise ModelError(f"settings are {text[:80]!r}, but this version reads format {FORMAT}")
        names = {field.name for field in fields(cls)}
        if values.keys() != names:
            raise ModelError(f"settings have {sorted(values)}, but must have exactly {sorted(names)}")
        try:
            preprocessing = Preprocessing(**values["preprocessing"])
        except (TypeError, ValueError) as error:
            raise ModelError(f"settings have a preprocessing that is not legal: {error}") from error
        for name in ("channel_names", "channel_indices"):
            if not isinstance(values[name], list):
                raise ModelError(f"{name} are {values[name]!r}, but must be a list")
            values[name] = tuple(values[name])
        _check_types(values)
        return cls(**values | {"preprocessing": preprocessing})


def _check_types(values: dict[str, Any]) -> None:
    """Refuse what JSON can hold and settings cannot; the rest is checked where settings are made."""
    indices, data_format = values["channel_indices"], values["data_format"]
    if not all(type(index) is int and index >= 0 for index in indices):
        raise ModelError(f"channel_indices are {indices!r}, but must be whole numbers from 0 on")
    if not isinstance(data_format, str) or data_format not in READERS:
        raise ModelError(f"data_format is {data_format!r}, but must be one of {', '.join(READERS)}")
    for name in ("largest_component", "grayscale"):
        if type(values[name]) is not bool:
            raise ModelError(f"{name} is {values[name]!r}, but must be true or false")
