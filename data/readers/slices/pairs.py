"""Images of a tree paired with their masks, by names alone: masks beside their images, or in a folder of their own.

A wrong guess would go unnoticed: an image with another one's mask trains as well as any. So the two names must have the
same core, every other file is a problem, and a file for which there are two possibilities is left out.
"""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from data.errors import Problem
from data.readers.tree import Tree

NO_MASK = (
    "no mask; add it, or move the image away; where images have no mask because they show no tumour, give "
    "--missing-masks empty"
)
NO_IMAGE = "no image; add it, or move the mask away"


@dataclass(frozen=True)
class Place:
    """A slice: where its image and its mask lie, relative to the root of the tree."""

    image: PurePosixPath
    mask: PurePosixPath | None
    """None: there is none, which means that there is no tumour."""

    home: PurePosixPath
    """The folder of the image below the folder of all images; `.` if it lies directly there, so that the folder does
    not say which patient it is of."""

    top: PurePosixPath
    """The folder of the folder of all images: the group of the patient."""


@dataclass(kw_only=True)
class Pairs:
    """What a search for pairs finds."""

    tree: Tree
    empty_masks: bool = False
    """Whether an image without a mask has no tumour. Otherwise it is a problem."""

    places: list[Place] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    leftovers: list[PurePosixPath] = field(default_factory=list)
    """Files among the slices that are none, and that no image or mask is missing for."""

    remarks: list[str] = field(default_factory=list)
    """What a person should know about images and masks that are left out."""

    num_without_mask: int = 0

    def bad(self, path: PurePosixPath, reason: str, *, cause: str = "") -> None:
        """Add a problem."""
        self.problems.append(Problem(path=self.tree.root / path, reason=reason, cause=cause))

    def without_mask(self, place: Place, expected: str) -> None:
        """Add an image that has no mask, as a slice without tumour or as a problem."""
        self.num_without_mask += 1
        if self.empty_masks:
            self.places.append(place)
        else:
            self.bad(
                place.image, f"has no mask ({expected}){NO_MASK.removeprefix('no mask')}", cause=f"each has {NO_MASK}"
            )

    def without_image(self, mask: PurePosixPath, where: str = "") -> None:
        """Add a mask that has no image to the problems."""
        self.bad(mask, f"has no image{where}{NO_IMAGE.removeprefix('no image')}", cause=f"each has {NO_IMAGE}")
