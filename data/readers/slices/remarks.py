"""What a person should know about how slices became patients."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from data.printable import some
from data.readers.image_files.picture import FORMAT_OF_SUFFIX
from data.readers.slices import names
from data.readers.slices.pairs import Place
from data.readers.tree import Tree

PATTERN_EXAMPLE = r"--patient-pattern '([^/]+)_[0-9]+\.' takes TCGA_CS_4941 from images/TCGA_CS_4941_12.tif"


def about_images_alone(count: int) -> str:
    """Return a warning about images each of which counts as a patient."""
    return (
        f"{count} image(s) count as a patient each, because neither folders nor names say who it is: slices of one "
        "patient may then be on both sides of the split, which inflates the scores. If the paths contain the patient, "
        f"say where: {PATTERN_EXAMPLE}."
    )


def about_unread(tree: Tree, seen: Collection[PurePosixPath]) -> Iterator[str]:
    """Yield a warning about images in folders that are not read, because no mask belongs to them."""
    unread = [
        folder / name
        for folder, listing in tree.folders.items()
        if folder not in seen
        for name in listing
        if names.suffix_of(name) in FORMAT_OF_SUFFIX and not names.is_output(names.stem_of(name))
    ]
    if unread:
        yield (
            f"{len(unread)} image(s) in folders where no mask belongs to them are left out, such as {unread[0]}; if "
            "they are patients, give their folder by itself, or put their masks there"
        )


def about_several_places(members: Mapping[str, Sequence[Place]]) -> Iterator[str]:
    """Yield a warning about patients whose images lie below several folders."""
    several = {}
    for name, places in sorted(members.items()):
        if len(tops := sorted({str(place.top) for place in places})) > 1:
            several[name] = tops
    if several:
        name, tops = next(iter(several.items()))
        who = (
            f"patient {name} has"
            if len(several) == 1
            else f"{len(several)} patients, such as {some(several, most=3)}, have"
        )
        what = f"{who} images below {', '.join(tops)}"
        yield f"{what}; if these are several patients, include the folder in --patient-pattern."
