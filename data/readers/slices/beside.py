"""Pair images with the masks beside them, in the same folder."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from data.printable import some
from data.readers.slices import names
from data.readers.slices.pairs import Pairs, Place

Key = tuple[str, int] | tuple[str]
"""The beginning of a slice's name and its number; or the whole name, if it has none."""


def pair_beside(pairs: Pairs, folder: PurePosixPath, usual: str, *, is_patient: bool) -> None:
    """Pair the images in a folder with the masks in the same folder, which are named by an ending.

    Numbers are compared as numbers, so P_2_mask is the mask of P_002. Images that are no slices, such as a copy or a
    picture of another format than most, are problems or leftovers.

    Args:
        usual: The format of most images in the tree; see `suffix_format`.
        is_patient: Whether a folder that is named like its slices may hold no others.
    """
    images, masks = _by_key(pairs.tree.folders[folder])
    prefixes = {key[0] for key in images.keys() & masks if len(key) == 2}
    are_numbers = any(len(key) == 1 and key[0].isdigit() for key in images.keys() & masks)
    if others := _other_patients(folder.name or pairs.tree.root.name, images.keys() | masks) if is_patient else []:
        reason = f"holds slices of {len(others)} patients ({some(others, most=4)}); give each a folder of its own"
        pairs.bad(folder, reason)
        return
    for key in sorted(images.keys() | masks, key=lambda key: (key[0], key[-1] if len(key) == 2 else -1)):
        paths, own = _of_format(images.get(key, []), usual), masks.get(key, [])
        pairs.leftovers += [folder / name for name in images.get(key, []) if name not in paths]
        for name in (*paths[1:], *own[1:]):
            first = paths[0] if name in paths else own[0]
            number = f"slice number {key[1]}" if len(key) == 2 else "its name without the suffix"
            pairs.bad(folder / name, f"{number} is already that of {first}; remove one")
        if max(len(paths), len(own)) > 1:
            continue
        if not paths:
            pairs.without_image(folder / own[0])
        elif own:
            pairs.places.append(Place(folder / paths[0], folder / own[0], folder, folder.parent))
        elif first := _first_mask(names.stem_of(paths[0]), masks):
            pairs.bad(folder / paths[0], f"is a second mask beside {first}; unite the two in one file")
        elif (len(key) == 2 and (key[0] in prefixes or not prefixes)) or (are_numbers and key[0].isdigit()):
            place = Place(folder / paths[0], None, folder, folder.parent)
            stem, suffix = names.stem_of(paths[0]), PurePosixPath(paths[0]).suffix
            pairs.without_mask(place, f"{stem}_mask{suffix}")
        else:
            _stray(pairs, folder / paths[0], usual)


def _first_mask(stem: str, masks: Mapping[Key, Sequence[str]]) -> str:
    """Return the mask beside which NAME_mask_1 is a second one of the same image; empty if there is none."""
    base = names.mask_base(re.sub(r"[_\- ]?[0-9]{1,2}$", "", stem))
    return next(iter(masks.get(_key(base), ())), "") if base and not stem.endswith(base) else ""


def _other_patients(folder: str, keys: Iterable[Key]) -> list[str]:
    """Return the patients in a folder that is named like one of them, if there are several; copies are none."""
    begins = sorted({key[0] for key in keys if len(key) == 2})
    return begins if folder in begins and any(folder not in begin for begin in begins) else []


def _stray(pairs: Pairs, path: PurePosixPath, usual: str) -> None:
    """Add an image that is named like no slice: a problem if it may have been meant as one."""
    if suffix_format(path.name) != usual or path.suffix.lower() == ".npy":
        pairs.leftovers.append(path)
        return
    suffix = path.suffix
    reason = (
        f"the name is not <PATIENT>_<NUMBER>{suffix} or <PATIENT>_<NUMBER>_mask{suffix}; rename it, or move it away"
    )
    pairs.bad(path, reason)


def _of_format(found: Sequence[str], usual: str) -> list[str]:
    """Return the names of the usual format; all of them if none has it."""
    return [name for name in found if suffix_format(name) == usual] or list(found)


def suffix_format(name: str) -> str:
    """Return the first letter of an image file's suffix, which is the same for all suffixes of a format."""
    return names.suffix_of(name)[1:2]


def masks_beside(listing: Iterable[str]) -> set[str]:
    """Return those of the names in a folder that are masks: by their ending, or beside an image with the same core."""
    return {name for found in _by_key(listing)[1].values() for name in found}


def _by_key(listing: Iterable[str]) -> tuple[dict[Key, list[str]], dict[Key, list[str]]]:
    """Return the images and the masks in a folder by what an image and its mask have in common."""
    images: dict[Key, list[str]] = defaultdict(list)
    masks: dict[Key, list[str]] = defaultdict(list)
    for name in listing:
        if not names.suffix_of(name):
            continue
        stem = names.stem_of(name)
        base = names.mask_base(stem)
        if base is None:
            images[_key(stem)].append(name)
        else:
            masks[_key(base)].append(name)
    _pair_by_core(images, masks)
    return images, masks


def _pair_by_core(images: dict[Key, list[str]], masks: dict[Key, list[str]]) -> None:
    """Give masks without an image the key of the only image with their core: image_1 and mask_1, image and mask."""
    alone = {key: names.stem_of(found[0]) for key, found in images.items() if key not in masks and len(found) == 1}
    by_core: dict[str, list[Key]] = defaultdict(list)
    for key, stem in alone.items():
        by_core[names.core(stem)].append(key)
    for key in [key for key, stem in alone.items() if names.begins_as_mask(stem)]:
        others = [one for one in by_core[names.core(alone[key])] if one != key]
        if len(others) == 1 and not names.begins_as_mask(alone[others[0]]):
            masks[others[0]] = images.pop(key)
    for key in [key for key in masks if key not in images]:
        others = by_core[names.core(names.stem_of(masks[key][0]))]
        if len(others) == 1 and others[0] in images and others[0] not in masks:
            masks[others[0]] = masks.pop(key)


def _key(stem: str) -> Key:
    return names.split_number(stem) or (stem,)
