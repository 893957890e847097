"""Find the patients in a tree of slices. The readers `lgg` and `folder` scan so, with masks in different places."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal

from data.patient import Scan, SliceFiles, SlicePatient
from data.printable import some
from data.readers.image_files.pair import ReadPair
from data.readers.image_files.picture import is_stack
from data.readers.slices import names
from data.readers.slices.beside import masks_beside, pair_beside, suffix_format
from data.readers.slices.folders import Folders, folder_pairs, pair_folders
from data.readers.slices.pairs import Pairs
from data.readers.slices.remarks import about_unread
from data.readers.slices.volumes import Grouping, Stack, group
from data.readers.tree import Tree
from data.splitting.persons import compile_pattern

MissingMasks = Literal["refuse", "empty"]


def scan_folders(
    tree: Tree, read_slice: ReadPair, *, patient_pattern: str | None, missing_masks: MissingMasks
) -> Scan[SlicePatient]:
    """Return the patients whose masks lie in a folder beside that of their images; see `data.readers.folder`."""
    pairs = Pairs(tree=tree, empty_masks=missing_masks == "empty")
    folders = Folders(tree)
    seen: set[PurePosixPath] = set()
    for one in folder_pairs(folders, pairs.problems):
        pair_folders(pairs, folders, one.images, one.masks, deep=one.deep)
        pairs.remarks += [f"{other} holds other masks of {one.images}, and is left out" for other in one.others]
        seen |= {*folders.below(one.images)} if one.deep else {one.images}
        seen |= {below for top in (one.masks, *one.others) for below in folders.below(top)}
    pairs.remarks += about_unread(tree, seen)
    return _scan(pairs, read_slice, patient_pattern, are_beside=False)


def scan_beside(
    tree: Tree, read_slice: ReadPair, *, patient_pattern: str | None, missing_masks: MissingMasks
) -> Scan[SlicePatient]:
    """Return the patients whose masks lie beside their images; see `data.readers.lgg`."""
    pairs = Pairs(tree=tree, empty_masks=missing_masks == "empty")
    usual = usual_format(tree.folders.values())
    seen: set[PurePosixPath] = set()
    for folder, listing in tree.folders.items():
        own = usual if any(suffix_format(name) == usual for name in listing) else usual_format([listing])
        if own and (own == usual or masks_beside(listing)):
            pair_beside(pairs, folder, own, is_patient=patient_pattern is None)
            seen.add(folder)
    pairs.remarks += about_unread(tree, seen)
    return _scan(pairs, read_slice, patient_pattern, are_beside=True)


def usual_format(listings: Iterable[Sequence[str]]) -> str:
    """Return the format of most images with a mask beside them, or of most images; empty if there are none."""
    counts: Counter[str] = Counter()
    for listing in listings:
        stems = {names.stem_of(name).lower() for name in listing if names.suffix_of(name)}
        bases = {base for stem in stems if (base := names.mask_base(stem)) is not None}
        for name in listing:
            if kind := suffix_format(name):
                stem = names.stem_of(name).lower()
                counts[kind] += 10**6 if stem in bases else 1 if names.mask_base(stem) is None else 0
    return counts.most_common(1)[0][0] if counts else ""


def _scan(pairs: Pairs, read_slice: ReadPair, patient_pattern: str | None, *, are_beside: bool) -> Scan[SlicePatient]:
    grouping = Grouping(
        pairs=pairs,
        pattern=None if patient_pattern is None else compile_pattern(patient_pattern),
        are_volumes=bool(pairs.places) and is_stack(pairs.tree.root / pairs.places[0].image),
        are_beside=are_beside,
    )
    patients = tuple(_patient(pairs.tree, volume, read_slice) for volume in group(grouping))
    warnings = (
        *grouping.warnings,
        *pairs.remarks,
        *_about_masks(pairs),
        *_about_leftovers(pairs, are_beside=are_beside),
    )
    return Scan(patients=patients, problems=tuple(pairs.problems), warnings=warnings)


def _patient(tree: Tree, volume: Stack, read_slice: ReadPair) -> SlicePatient:
    slices = tuple(
        SliceFiles(
            number=number,
            image=tree.root / place.image,
            mask=None if place.mask is None else tree.root / place.mask,
            is_whole=len(volume.slices) == 1,
        )
        for number, place in volume.slices
    )
    return SlicePatient(
        id=volume.id,
        group=volume.group,
        person=volume.person,
        regions=read_slice.regions,
        slices=slices,
        read_slice=read_slice,
    )


def _about_masks(pairs: Pairs) -> Iterator[str]:
    count, num_with = pairs.num_without_mask, sum(place.mask is not None for place in pairs.places)
    if count and pairs.empty_masks:
        yield f"{count} of {count + num_with} slices have no mask file and count as slices without tumour"
    elif count:
        yield (
            f"{count} of {count + num_with} slices have no mask file: if that means no tumour, leaving them out makes "
            f"the share of slices with tumour {(count + num_with) / max(num_with, 1):.3g} times as high as in the "
            "data; --missing-masks empty keeps them"
        )


def _about_leftovers(pairs: Pairs, *, are_beside: bool) -> Iterator[str]:
    found: Sequence[PurePosixPath] = pairs.leftovers
    if not found:
        return
    if are_beside:
        yield f"{len(found)} file(s) beside slices are no slices and are left out ({some(map(str, found), most=3)})."
    else:
        counts = Counter(path.suffix.lower() or "without suffix" for path in found)
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(4))
        yield f"{len(found)} file(s) in images and masks folders are not images and are left out ({kinds})."
