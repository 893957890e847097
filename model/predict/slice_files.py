"""Find patients whose slices are image files, as `data.readers.slices` does for training, but without their masks."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from data.errors import Problem
from data.readers.image_files.picture import is_stack
from data.readers.images import IMAGES
from data.readers.reader import FileKind
from data.readers.slices import names
from data.readers.slices.beside import masks_beside
from data.readers.slices.folders import STRONG, Folders, folder_pairs
from data.readers.slices.order import numbered, says_order
from data.readers.slices.pairs import Pairs, Place
from data.readers.slices.volumes import Grouping, assign, visits
from data.readers.tree import Tree, read_tree
from model.predict.volume_files import VolumeFiles, is_mask_name


def find_slices(
    source: Path, kind: FileKind, *, patient_pattern: re.Pattern[str] | None = None, as_in_training: bool = True
) -> Iterator[VolumeFiles]:
    """Yield the patients whose images are in a folder or below it; those of unclear files with the problem.

    A folder that holds images is a patient, or several, as their names say. Below a folder of images, with or without
    its masks, patients are identified as in `data.readers.folder`. Masks and outputs of a prediction are left out.

    Args:
        as_in_training: Whether a folder may hold slices of several patients, or of names without numbers. Else both
            are problems.
    """
    tree = _of_kind(read_tree(source), kind)
    below, beside = _places(tree)
    for pairs, are_beside in ((below, False), (beside, True)):
        are_volumes = kind == IMAGES and bool(pairs.places) and is_stack(tree.root / pairs.places[0].image)
        grouping = Grouping(
            pairs=pairs,
            pattern=patient_pattern,
            are_volumes=are_volumes,
            are_beside=are_beside,
            folder_is_patient=True,
        )
        is_beside = are_beside and patient_pattern is None
        if is_beside and not as_in_training:
            for place in pairs.places:
                grouping.members[place.home.name or tree.root.name].append(place)
        else:
            assign(grouping)
        for name, places, _ in visits(grouping):
            yield _volume(tree, name, places, kind, is_beside=is_beside, is_strict=is_beside and not as_in_training)
        for problem in pairs.problems:
            yield _failure(problem, kind)
    yield from (_failure(problem, kind) for problem in tree.problems)


def _failure(problem: Problem, kind: FileKind) -> VolumeFiles:
    """Return a patient that cannot be predicted, by the file to blame."""
    return VolumeFiles(patient=str(problem.path), folder=problem.path, files=(), kind=kind, problem=str(problem))


def _places(tree: Tree) -> tuple[Pairs, Pairs]:
    """Return the images below folders of images, and the others."""
    folders = Folders(tree)
    below, beside = Pairs(tree=tree), Pairs(tree=tree)
    skipped = set()
    for images, masks, deep in _image_folders(folders):
        skipped |= {*folders.below(masks)} if masks is not None else set()
        below.places += _below(folders, images, deep=deep)
        skipped |= {*folders.below(images)} if deep else {images}
    for folder in tree.folders:
        if folder not in skipped:
            beside.places += [Place(path, None, folder, folder.parent) for path in _images(tree, folder)]
    return below, beside


def is_slice_file(name: str, kind: FileKind) -> bool:
    """Return whether a file may hold a slice of this kind, or a stack of them, by its suffix."""
    return kind.suffix_of(name) != "" or (kind == IMAGES and names.suffix_of(name) != "")


def _of_kind(tree: Tree, kind: FileKind) -> Tree:
    """Return a tree with the files of a kind alone."""
    folders = {
        folder: tuple(name for name in listing if is_slice_file(name, kind)) for folder, listing in tree.folders.items()
    }
    return Tree(root=tree.root, folders=folders, problems=tree.problems)


def _image_folders(folders: Folders) -> Iterator[tuple[PurePosixPath, PurePosixPath | None, bool]]:
    """Yield the folders of images, the outermost ones, each with the folder of its masks, if there is one."""
    root = PurePosixPath()
    if _is_of_images(folders.tree.root.name):
        yield root, None, True
        return
    taken: set[PurePosixPath] = set()
    for one in folder_pairs(folders, []):
        taken |= {one.images, one.masks}
        yield one.images, one.masks, one.deep
    for folder in folders.tree.folders:
        if not taken & {folder, *folder.parents} and _is_of_images(folder.name):
            taken.add(folder)
            yield folder, None, True


def _is_of_images(name: str) -> bool:
    kind = names.folder_kind(name)
    return kind is not None and not kind.is_mask and name.lower() in STRONG


def _below(folders: Folders, images: PurePosixPath, *, deep: bool) -> Iterator[Place]:
    top = images.parent if deep else images
    for folder in folders.below(images) if deep else [images]:
        for path in _images(folders.tree, folder):
            yield Place(path, None, folder.relative_to(images), top)


def _images(tree: Tree, folder: PurePosixPath) -> list[PurePosixPath]:
    """Return the images in a folder that are no masks, overlays or predictions."""
    listing = tree.folders[folder]
    others = masks_beside(listing)
    others |= {name for name in listing if is_mask_name(names.stem_of(name))}
    return [folder / name for name in listing if name not in others]


def _volume(
    tree: Tree, name: str, places: Sequence[Place], kind: FileKind, *, is_beside: bool, is_strict: bool
) -> VolumeFiles:
    """Return a patient with the slices in order, or with what is wrong with their names."""
    paths = [tree.root / place.image for place in places]
    problems: list[str] = []

    def nameless(path: Path) -> None:
        what = "has no slice number in its name, but others of its patient have; rename it"
        named = f"the name is not <PATIENT>_<NUMBER>{path.suffix}; rename it, or predict it alone"
        problems.append(f"{path}: {named if is_beside else what}")

    def twice(path: Path, first: Path, number: int) -> None:
        remedy = "remove one of them" if is_beside else "rename one, see --patient-pattern"
        problems.append(f"{path}: has the number of {first.name}; {remedy}")

    if is_strict and len(paths) > 1:
        for path in paths:
            if names.split_number(path.stem) is None:
                nameless(path)
    files = tuple(numbered(paths, nameless, twice).values())
    stems: dict[str, Path] = {}
    for path in files if not says_order(paths) else ():
        if (twin := stems.setdefault(path.stem, path)) is not path:
            problems.append(f"{path}: its mask would have the name of the mask of {twin}; rename one, or separate them")
    begins = sorted({split[0] for path in paths if (split := names.split_number(path.stem))})
    if is_beside and len(begins) > 1 and (is_strict or (name in begins and any(name not in one for one in begins))):
        # Intensities are normalised over the volume of a patient, so two patients must not share one.
        shown = ", ".join(begins[:4])
        problems.append(
            f"{paths[0].parent}: holds slices of {len(begins)} patients ({shown}); give each a folder of its own"
        )
    folder = paths[0].parent if is_beside else tree.root / places[0].top
    return VolumeFiles(patient=name, folder=folder, files=files, kind=kind, problem="\n".join(problems))
