"""Reader of images and masks in folders of their own, the layout of most 2D segmentation data.

Names differ between data sets, and a wrong guess would go unnoticed. So images and masks are matched by name, patients
are identified by folders, by names that plainly say them or by a pattern, and every file without a match is a problem.
"""

from dataclasses import replace

from data.errors import DataError, Problem
from data.patient import Scan, SlicePatient
from data.readers.image_files.pair import ReadPair
from data.readers.images import IMAGES
from data.readers.reader import LayoutOptions, Reader
from data.readers.slices.folders import SEVERAL, Folders, folder_pairs
from data.readers.slices.scan import scan_folders
from data.readers.tree import Tree

LAYOUT = (
    "expected <source>/images/<NAME>.png (or .tif, .jpg, .npy) beside <source>/masks/<NAME>.png (or <NAME>_mask.png), "
    "with the same folders below both"
)


def scan(tree: Tree, options: LayoutOptions) -> Scan[SlicePatient]:
    """Return the patients of a tree, sorted by id, with their slices ordered by number.

    A folder called images (or image, imgs, train_images, input and so on) lies beside one called masks (or labels,
    annotations, gt and so on), anywhere, in upper or lower case. An image and its mask have the same path below these
    folders, apart from the suffix; their names may end in words such as _mask or _seg, or begin with them. A file may
    hold all slices of a patient, as pages. Nothing is decoded.

    A patient's group is the folder above `images`, relative to the root. Slices are numbered by the last digits of
    their names (at most 9) or, if no slice of the patient has any, from 1 in natural order.

    A patient is found by `patient_pattern`, if there is one, in the path of the image relative to the root. Slices of
    one match are one volume; if two of them in different folders have one number, each folder is one. Else it is the
    image's folder below `images`; or what names of slices have in common before their numbers, if that has a digit and
    there are several; or else each image is a patient, named by the folder above and the file. A slash in an id becomes
    "_".

    Raises:
        DataError: The tree holds no such folders, or an argument is illegal.
    """
    read_slice = ReadPair.of_layout(options, READER)
    found = scan_folders(tree, read_slice, patient_pattern=options.patient_pattern, missing_masks=options.missing_masks)
    if not found.patients and not found.problems:
        raise DataError(f"data source {tree.root} holds no patient: no images lie in an images folder; {LAYOUT}.")
    return replace(found, channel_names=options.channels)


def recognise(tree: Tree) -> str:
    """Return a rule if a folder of images and a folder of masks belong together."""
    folders, problems = Folders(tree), list[Problem]()
    for one in folder_pairs(folders, problems):
        if folders.has_images(one.images) and folders.has_images(one.masks):
            return f"a folder of masks, {one.masks}, belongs to a folder of images, {one.images}"
    return "several folders of images or of masks belong together" if any(map(_is_several, problems)) else ""


def _is_several(problem: Problem) -> bool:
    return problem.cause == SEVERAL


READER = Reader(
    scan=scan,
    recognise=recognise,
    files=IMAGES,
    options=("channels", "grayscale", "labels", "regions", "missing_masks"),
    description="images and masks as PNG, JPEG, TIFF or NumPy files",
)
