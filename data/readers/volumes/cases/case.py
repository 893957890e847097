"""A case: the volumes of one scan of one person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Channel:
    """Where a channel is: in a file, or among the channels of one."""

    path: PurePosixPath
    """Relative to the root of the tree."""

    index: int | None = None
    """None: all channels of the file."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Files that belong together."""

    id: str
    name: str
    """The id before cases of the same name were told apart by their folders."""

    home: PurePosixPath
    """The folder of most images, relative to the root."""

    is_named: bool = False
    """Whether the names of files say the name, rather than the folder."""

    images: Mapping[str, PurePosixPath]
    """The path of each image by its role in lower case; the only role is empty if a file holds all channels."""

    segmentations: Mapping[str, PurePosixPath] = field(default_factory=dict)
    """The path of each segmentation by its role; whether it is one of a tumour is not decided yet."""

    names: tuple[str, ...] = ()
    """Names of the channels of a file that holds all, each empty if it has none; no names if they are unknown."""

    @property
    def channels(self) -> dict[str, Channel]:
        """The place of each channel by its role."""
        if "" in self.images and self.names:
            return {name: Channel(self.images[""], index) for index, name in enumerate(self.names) if name}
        return {role: Channel(path) for role, path in self.images.items()}

    def with_names(self, names: Sequence[str]) -> "Case":
        """Return the case with names for channels that are only numbered: of one file, or 0000, 0001 and so on."""
        by_number = {f"{number:04d}": name for number, name in enumerate(names) if name}
        images = {by_number.get(role, role): path for role, path in self.images.items()}
        return replace(self, images=images, names=tuple(names))
