"""Pair the images in a folder with the masks in another one, which has a word for masks as its name."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from data.errors import Problem
from data.printable import some
from data.readers.slices import names
from data.readers.slices.pairs import Pairs, Place
from data.readers.tree import Tree
from data.readers.truth import is_tumour, trust

SEVERAL = "each holds several folders of images, or of masks, that belong together; keep one of each there"
STRONG = ("images", "image", "imgs", "img", "masks", "mask", "train_images", "train_masks")
"""Names of folders that lack their counterpart if it is not there; other words may mean anything."""


@dataclass(frozen=True, kw_only=True)
class FolderPair:
    """A folder of images and the folder of their masks."""

    images: PurePosixPath
    masks: PurePosixPath
    others: tuple[PurePosixPath, ...] = ()
    """Folders that hold other masks of these images, which are trusted less."""

    deep: bool = True
    """Whether images in subfolders belong to it; not where the masks lie in a folder among the images."""


class Folders:
    """The folders of a tree, by the folder that they lie in."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.inside: dict[PurePosixPath, list[PurePosixPath]] = defaultdict(list)
        for folder in sorted(tree.folders):
            if folder.parts:
                self.inside[folder.parent].append(folder)

    def below(self, top: PurePosixPath) -> Iterable[PurePosixPath]:
        """Yield a folder and all folders below it."""
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting += reversed(self.inside[folder])

    def has_images(self, top: PurePosixPath) -> bool:
        """Return whether an image file lies in a folder or below it."""
        return any(names.suffix_of(name) for folder in self.below(top) for name in self.tree.folders[folder])

    def by_stem(self, top: PurePosixPath, *, deep: bool = True) -> "Stems":
        """Return the image files below a folder by their path without suffix, relative to the folder; and the others.

        Args:
            deep: Whether to look into the folders in it, too.
        """
        found = Stems()
        for folder in self.below(top) if deep else [top]:
            for name in self.tree.folders[folder]:
                if suffix := names.suffix_of(name):
                    stem = (folder.relative_to(top) / names.stem_of(name)).as_posix()
                    found.arrays.add(folder / name) if suffix == ".npy" else None
                    found.paths[stem].append(folder / name)
                else:
                    found.others.append(folder / name)
        return found


class Stems:
    """The files in a folder of images or of masks."""

    def __init__(self) -> None:
        self.paths: dict[str, list[PurePosixPath]] = defaultdict(list)
        self.others: list[PurePosixPath] = []
        self.arrays: set[PurePosixPath] = set()
        """Those of `paths` that are NumPy files: without a partner they are any array, and not a slice."""


def pair_folders(
    pairs: Pairs, folders: Folders, images: PurePosixPath, masks: PurePosixPath, *, deep: bool = True
) -> None:
    """Pair the images in a folder with the masks in another one: by the same path below, then by the core of names."""
    by_stem, masks_by_stem = folders.by_stem(images, deep=deep), folders.by_stem(masks)
    pairs.leftovers += by_stem.others + masks_by_stem.others
    own = _masks_of_images(by_stem.paths, masks_by_stem.paths)
    top = images.parent if deep else images
    for stem, paths in sorted(by_stem.paths.items()):
        found = own.pop(stem, [])
        image, parent = paths[0], paths[0].parent.relative_to(images)
        if len(paths) > 1:
            reason = f"has the same name as {paths[1].name}, so it is unclear which of them the mask is for; remove one"
            pairs.bad(image, reason)
        elif len(found) > 1:
            shown = ", ".join(str(pairs.tree.root / path) for path in found)
            pairs.bad(image, f"has {len(found)} masks ({shown}), but must have one; remove the others")
        elif found:
            pairs.places.append(Place(image, found[0], parent, top))
        elif image in by_stem.arrays:
            pairs.leftovers.append(image)
        else:
            expected = f"{pairs.tree.root / masks / stem}{image.suffix}, also with _mask"
            pairs.without_mask(Place(image, None, parent, top), expected)
    for path in sorted(path for paths in own.values() for path in paths):
        if path in masks_by_stem.arrays:
            pairs.leftovers.append(path)
        else:
            pairs.without_image(path, f" in {pairs.tree.root / images}")


def _masks_of_images(
    images: dict[str, list[PurePosixPath]], masks: dict[str, list[PurePosixPath]]
) -> dict[str, list[PurePosixPath]]:
    """Return the masks by the stem of their image; those without an image by a stem that no image has."""
    own: dict[str, list[PurePosixPath]] = defaultdict(list)
    for stem, paths in masks.items():
        base = names.mask_base(PurePosixPath(stem).name)
        without_ending = stem if base is None else (PurePosixPath(stem).parent / base).as_posix()
        own[stem if stem in images or without_ending not in images else without_ending] += paths
    alone = _unique_cores(stem for stem in images if stem not in own)
    if all(stem.endswith("_0000") for stem in alone.values()):  # the only channel, as nnU-Net names it
        alone |= {(key[0], names.core(PurePosixPath(stem).name[:-5])): stem for key, stem in alone.items()}
    for key, stem in _unique_cores(stem for stem in own if stem not in images).items():
        if key in alone:
            own[alone[key]] = own.pop(stem)
    return own


def _unique_cores(stems: Iterable[str]) -> dict[tuple[PurePosixPath, str], str]:
    """Return stems by their folder and core; without those that share both."""
    found: dict[tuple[PurePosixPath, str], list[str]] = defaultdict(list)
    for stem in stems:
        path = PurePosixPath(stem)
        found[path.parent, names.core(path.name)].append(stem)
    return {key: one for key, (one, *others) in found.items() if not others}


def folder_pairs(folders: Folders, problems: list[Problem]) -> Iterator[FolderPair]:
    """Yield the folders of images that have a folder of masks, outermost first; add what is unclear to problems."""
    waiting = [PurePosixPath()]
    while waiting:
        parent = waiting.pop()
        found, taken = list(_pairs_in(folders, parent, problems)), set()
        for one in found:
            taken |= {one.images, one.masks, *one.others}
            yield one
        kinds = {child: names.folder_kind(child.name) for child in folders.inside[parent]}
        for child, kind in kinds.items():
            if kind and child not in taken and child.name.lower() in STRONG and not _has_own_masks(folders, child):
                if not any(problem.path == folders.tree.root / parent for problem in problems):
                    other = "images" if kind.is_mask else "masks"
                    reason = f"no {other} folder is beside it; add or rename it"
                    problems.append(Problem(path=folders.tree.root / child, reason=reason))
                taken.add(child)
        waiting += [child for child in reversed(folders.inside[parent]) if child not in taken]


def _pairs_in(folders: Folders, parent: PurePosixPath, problems: list[Problem]) -> Iterator[FolderPair]:
    """Yield the pairs of folders directly in a folder; of several folders of masks, the most trusted one."""
    by_images: dict[PurePosixPath, list[FolderPair]] = defaultdict(list)
    for one in _possible_pairs(folders, parent, problems):
        by_images[one.images].append(one)
    for images, found in by_images.items():
        most = max(trust(one.masks.name) for one in found)
        best = [one for one in found if trust(one.masks.name) == most]
        plain = [one for one in best if _rest(one.masks) == _rest(images)]
        best = plain if len(plain) == 1 else best
        if len(best) == 1:
            yield replace(best[0], others=tuple(one.masks for one in found if one != best[0]))
        else:
            shown = some(one.masks.name for one in best)
            reason = (
                f"holds {len(best)} folders of masks for the images in {images.name} ({shown}); keep one of them there"
            )
            problems.append(Problem(path=folders.tree.root / parent, reason=reason, cause=SEVERAL))


def _rest(folder: PurePosixPath) -> str:
    kind = names.folder_kind(folder.name)
    return kind.rest if kind else ""


def _possible_pairs(folders: Folders, parent: PurePosixPath, problems: list[Problem]) -> Iterator[FolderPair]:
    """Yield folders of images, each with a folder of masks that fits it."""
    kinds = {child: kind for child in folders.inside[parent] if (kind := names.folder_kind(child.name))}
    for rest in sorted({kind.rest for kind in kinds.values()}):
        images = [child for child, kind in kinds.items() if kind.rest == rest and not kind.is_mask]
        masks = [child for child, kind in kinds.items() if kind.rest == rest and kind.is_mask and is_tumour(child.name)]
        images, masks = (_with_files(folders, some_) for some_ in (images, masks))
        if len(images) == 1:
            yield from (FolderPair(images=images[0], masks=one) for one in masks)
        elif images and masks:
            shown = ", ".join(child.name for child in images)
            reason = f"holds {len(images)} folders of images ({shown}) for {masks[0].name}; keep one of them there"
            problems.append(Problem(path=folders.tree.root / parent, reason=reason, cause=SEVERAL))
        elif len(masks) == 1 and folders.has_images(masks[0]):
            yield from _unnamed_images(folders, parent, masks[0], rest)


def _with_files(folders: Folders, found: list[PurePosixPath]) -> list[PurePosixPath]:
    """Return the folders that hold image files, if some do: labels may be text, and masks what is wanted."""
    return [folder for folder in found if folders.has_images(folder)] or found[:1]


def _unnamed_images(folders: Folders, parent: PurePosixPath, masks: PurePosixPath, rest: str) -> Iterator[FolderPair]:
    """Yield the folder whose images have the names of the masks, if there is just one: a sibling or the parent."""
    wanted = {_plain(stem) for stem in folders.by_stem(masks).paths}
    siblings = [child for child in folders.inside[parent] if child != masks and not _is_mask(child)]
    named = [child for child in siblings if rest and child.name.lower() == rest]
    fit = [child for child in named or siblings if any(_plain(stem) in wanted for stem in folders.by_stem(child).paths)]
    if len(fit) == 1:
        yield FolderPair(images=fit[0], masks=masks)
    elif not fit and any(_plain(stem) in wanted for stem in folders.by_stem(parent, deep=False).paths):
        yield FolderPair(images=parent, masks=masks, deep=False)


def _is_mask(folder: PurePosixPath) -> bool:
    kind = names.folder_kind(folder.name)
    return kind is not None and kind.is_mask


def _plain(stem: str) -> tuple[PurePosixPath, str]:
    path = PurePosixPath(stem)
    base = names.mask_base(path.name)
    return path.parent, names.core(path.name if base is None else base)


def _has_own_masks(folders: Folders, folder: PurePosixPath) -> bool:
    """Return whether the masks of a folder lie in it, beside their images."""
    stems = folders.by_stem(folder).paths
    return any(
        (base := names.mask_base(PurePosixPath(stem).name)) and str(PurePosixPath(stem).parent / base) in stems
        for stem in stems
    )
