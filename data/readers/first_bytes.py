"""What a file really is, by its first bytes, where it is not what its name promises."""

_LFS = b"version https://git-lfs"
_STARTS = (
    (_LFS, "is a Git LFS pointer, not the data: fetch it by git lfs pull"),
    (b"<!doctype html", "is a web page, not the data: its download failed or asked for a login; download it again"),
    (b"<html", "is a web page, not the data: its download failed or asked for a login; download it again"),
    (b"<?xml", "is an XML document, not the data: its download failed; download it again"),
    (b"pk\x03\x04", "is a zip archive: unpack it"),
    (b"\x1f\x8b", "is compressed by gzip: unpack it"),
    (b"bzh", "is compressed by bzip2: unpack it"),
    (b"\xfd7zxz", "is compressed by xz: unpack it"),
    (b"\x89hdf", "is HDF5, which is not read: save it as NIfTI or as images"),
    (b"matlab", "is a MATLAB file, which is not read: save it as NIfTI or as images"),
)

NUM_BYTES = 132
"""Number of bytes that `what_it_is` needs."""


def what_it_is(first: bytes) -> str:
    """Return what a file is and what to do, to follow its path in a message; empty if nothing is known."""
    if not first:
        return "is empty (0 bytes); copy it again"
    if first[128:132] == b"DICM":
        return "is a DICOM file: let its name end in .dcm, and its folder hold the whole series"
    start = first.lstrip().lower()
    return next((text for begin, text in _STARTS if start.startswith(begin.lower())), "")
