"""Which layout a tree of files has; and where it has none, what lies there and what would help."""

import re
from collections import Counter, defaultdict
from pathlib import Path

from data.errors import DataError, MissingSource
from data.readers.table import AUTO, READERS, data_formats
from data.readers.tree import Tree, read_tree, suggest

MAX_KINDS = 4
"""Number of kinds of files that a message names."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar", ".gz")

REMEDIES = {
    (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd"): (
        "no case has a segmentation: a file CASE_seg.nii.gz beside its volumes, or CASE.nii.gz in a folder labelsTr, "
        "masks or the like. If there are some under other names, say so by --segmentation, such as --data-format nifti "
        "--segmentation '*_lesion.nii.gz'"
    ),
    (".tif", ".tiff", ".png", ".jpg", ".jpeg"): (
        "no image has a mask: a file NAME_mask.png beside NAME.png, or masks/NAME.png beside images/NAME.png. Rename "
        "the files of the masks, or their folder"
    ),
    (".bmp", ".webp", ".gif", ".jp2"): "images of this kind are not read: save each as PNG",
    (".npy", ".npz"): "an array NAME.npy needs its mask NAME_mask.npy beside it; .npz is not read",
    (".h5", ".hdf5"): "HDF5 is not read: save each volume as NIfTI or each slice as PNG",
    (".mat",): "MATLAB files are not read: save each volume as NIfTI or each slice as PNG",
    (".json",): "outlines in JSON (COCO) are not read: draw them into masks, one PNG an image",
}
"""What to do about files that no layout was recognised in, by their suffixes."""


def find_tree(path: Path) -> Tree:
    """Return the tree of a data source.

    Raises:
        MissingSource: It does not exist.
        DataError: It is a file.
    """
    if path.is_dir():
        return read_tree(path)
    if not path.exists():
        raise MissingSource(
            f'data source {path} does not exist; name a folder of patients{suggest(path)}, or "phantom" for synthetic '
            "ones"
        )
    if path.name.lower().endswith(ARCHIVES) and not path.name.lower().endswith(".nii.gz"):
        raise DataError(f"data source {path} is an archive; unpack it and name the folder")
    raise DataError(f"data source {path} is a file, but must be a folder; name the folder that holds the patients")


def recognise(tree: Tree) -> tuple[str, str]:
    """Return the name of the first reader that recognises a tree, and the rule that matched.

    Raises:
        DataError: No reader does; the message says what lies there.
    """
    for name, reader in READERS.items():
        if reader.recognise and (rule := reader.recognise(tree)):
            return name, rule
    formats = ", ".join(name for name in data_formats() if name != AUTO)
    raise DataError(
        f"data source {tree.root} has no layout that is known: {describe(tree)}. {_remedy(tree)} (the layouts are in "
        f"data/README.md; --data-format with one of {formats} reads it as that layout and says what is missing)"
    )


def describe(tree: Tree) -> str:
    """Return what kinds of files lie in a tree, the most frequent first, each with an example."""
    by_suffix = _by_suffix(tree)
    if not by_suffix:
        return "it holds no file"
    kinds = sorted(by_suffix.items(), key=lambda item: -len(item[1]))
    shown = [
        f"{len(files)} {f'{suffix} file(s)' if suffix else 'file(s) without a suffix'} such as {files[0]}"
        for suffix, files in kinds[:MAX_KINDS]
    ]
    rest = sum(len(files) for _, files in kinds[MAX_KINDS:])
    return "it holds " + ", ".join(shown) + (f", and {rest} others" if rest else "")


def _by_suffix(tree: Tree) -> dict[str, list[str]]:
    found = defaultdict(list)
    for folder, name in tree.files(lambda name: True):
        match = re.search(r"\.nii\.gz$|\.tar\.[a-z0-9]+$|\.[A-Za-z0-9]{1,5}$", name.lower())
        found[match[0] if match else ""].append(str(folder / name))
    return found


def _remedy(tree: Tree) -> str:
    by_suffix = _by_suffix(tree)
    counts = Counter({suffix: len(files) for suffix, files in by_suffix.items()})
    has_outlines = any("coco" in name.lower() for name in by_suffix.get(".json", ()))
    for suffix, _ in [*[(".json", 0)] * has_outlines, *counts.most_common()]:
        for suffixes, remedy in REMEDIES.items():
            if suffix in suffixes:
                return remedy[0].upper() + remedy[1:]
    return "Name the folder of the patients"
