"""Reader of masks beside their images, as in the Kaggle LGG set: `NAME_12.tif` beside `NAME_12_mask.tif`.

That set is https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation (kaggle_3m): a folder a patient, 8-bit RGB
TIFF slices whose channels are pre-contrast, FLAIR and post-contrast, and one-channel masks of 0 and 255.
"""

import re
from dataclasses import replace

from data.errors import DataError
from data.patient import Scan, SlicePatient
from data.readers.image_files.pair import ReadPair
from data.readers.images import IMAGES
from data.readers.reader import LayoutOptions, Reader
from data.readers.slices import names
from data.readers.slices.beside import masks_beside
from data.readers.slices.scan import scan_beside
from data.readers.tree import Tree

LAYOUT = "expected <source>/<PATIENT>/<PATIENT>_<NUMBER>.tif, each beside its <PATIENT>_<NUMBER>_mask.tif"

CHANNELS = ("pre", "flair", "post")
"""Channels of an image of the LGG set, in the order of the file."""


def scan(tree: Tree, options: LayoutOptions) -> Scan[SlicePatient]:
    """Return the patients of a tree, sorted by id, with their slices ordered by number (`_2` before `_10`).

    A patient is a folder that holds images and their masks, and the folder's name is the id. In a folder of slices of
    many patients, it is what names have in common before the number, if that has a digit. The tree is that of
    kaggle_3m, of a folder above it, or of one patient. Nothing is decoded. Problems are images without a mask, masks
    without an image, and whatever else would spoil training unnoticed, such as a number or an id that occurs twice.

    Raises:
        DataError: The tree holds no patient, or there is no such channel.
    """
    is_named = has_lgg_names(tree)
    read_slice = ReadPair.of_layout(options, READER if is_named else replace(READER, channels=()))
    found = scan_beside(tree, read_slice, patient_pattern=options.patient_pattern, missing_masks=options.missing_masks)
    if not found.patients and not found.problems:
        raise DataError(f"data source {tree.root} holds no patient: no image is in it or below it; {LAYOUT}.")
    return replace(found, channel_names=options.channels or (CHANNELS if is_named else ()))


def has_lgg_names(tree: Tree) -> bool:
    """Return whether channels may be called as in the LGG set: names are TCGA barcodes, or those of its very layout."""
    for folder, listing in tree.folders.items():
        place = folder.name or tree.root.name
        for name in listing:
            stem = names.stem_of(name)
            if names.suffix_of(name) and re.match(r"TCGA[_-][A-Z0-9]{2}[_-]", stem):
                return True
            own = re.escape(place)
            if re.fullmatch(rf"{own}_[0-9]{{1,9}}_mask\.tiff?", name, re.IGNORECASE):
                return True
    return False


def recognise(tree: Tree) -> str:
    """Return a rule if an image lies beside its mask."""
    for folder, listing in tree.folders.items():
        masks = masks_beside(listing)
        stems = {names.stem_of(name): name for name in listing if names.suffix_of(name) and name not in masks}
        for mask in sorted(masks):
            base = names.mask_base(names.stem_of(mask))
            image = stems.get(base or "") or next((name for stem, name in stems.items() if _belong(stem, mask)), "")
            if image:
                return f"a mask lies beside its image: {folder / mask} beside {image}"
    return ""


def _belong(stem: str, mask: str) -> bool:
    return names.core(stem) == names.core(names.stem_of(mask))


READER = Reader(
    scan=scan,
    recognise=recognise,
    files=IMAGES,
    channels=CHANNELS,
    options=("channels", "grayscale", "labels", "regions", "missing_masks"),
    description="slices beside their masks, as in the LGG MRI Segmentation set",
    licence=(
        "The LGG MRI Segmentation set (Buda et al. 2019, doi:10.1016/j.compbiomed.2019.05.002) is CC BY-NC-SA 4.0: it "
        "requires attribution, forbids commercial use, and asks for the same licence for everything made from it, "
        "including this model. Another set in the same layout has its own licence."
    ),
)
