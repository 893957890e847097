"""Open DICOM files with pydicom, and say in words what is wrong with those that are none, or damaged.

pydicom warns of every value that breaks a rule of the standard, and files of scanners break many. What this program
needs is checked here, so the warnings are silenced. That is a setting of the whole process, hence the lock.
"""

import logging
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from data.errors import DataError, bad_file
from data.readers.first_bytes import NUM_BYTES, what_it_is

SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")
"""Endings of names that promise DICOM."""

OTHER_SUFFIXES = re.compile(
    r"\.(nii|gz|mha|mhd|nrrd|z?raw|hdr|img|mgz|mgh|png|jpe?g|tiff?|bmp|gif|np[yz]|h5|mat|txt|[ct]sv|json|xml|xlsx?|docx?|"
    r"pdf|html?|md|log|ini|inf|exe|dll|jar|js|css|ico|zip|tar|tgz|bz2|xz|7z|rar|py|sh|bat|cmd|ya?ml|bval|bvec|par|rec|"
    r"tcia|lnk)",
    re.IGNORECASE,
)
"""Endings of names that promise something else. Any other ending may be part of a number, as in MR.1.2.840.113."""

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_NUM_META_BYTES = 4096  # where the transfer syntax is named; it takes some hundred bytes

_lock = threading.Lock()
Result = TypeVar("Result")


def may_be_dicom(name: str) -> bool:
    """Return whether a file's name does not promise something else than DICOM."""
    return OTHER_SUFFIXES.fullmatch(Path(name).suffix) is None and name.upper() != "DICOMDIR"


def promises_dicom(name: str) -> bool:
    """Return whether a file's name says that it is DICOM."""
    return name.lower().endswith(SUFFIXES)


def is_dicom(path: Path) -> bool:
    """Return whether a file has the mark of DICOM, which lies behind its first 128 bytes; no if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(NUM_BYTES)[128:] == b"DICM"
    except OSError:
        return False


def parse(path: Path, use: Callable[[Any], Result], *, tags: Sequence[str] = (), pixels: bool = False) -> Result | None:
    """Return what `use` makes of a file's dataset; None for a file that is no DICOM and whose name promises none.

    Args:
        use: Takes what it needs out of pydicom's dataset. Values are decoded when they are asked for, so `use` may
            raise anything for a damaged file.
        tags: Keywords of the elements to read; empty for all.
        pixels: Whether to read the pixels too.

    Raises:
        BadFiles: The file is damaged, or no DICOM though its name promises it.
        DataError: pydicom is not installed.
    """
    pydicom = import_pydicom()
    try:
        with path.open("rb") as file:
            head = file.read(_NUM_META_BYTES)
            if head[128:132] != b"DICM" and not promises_dicom(path.name):
                return None
            if head[128:132] != b"DICM" and (known := what_it_is(head[:NUM_BYTES])):
                raise bad_file(path, known)
            if _DEFLATED in head:  # pydicom would inflate all of it before anything is known about its size
                raise bad_file(path, "is deflated DICOM, which is not read; convert it, such as by dcmconv +te")
            file.seek(0)
            with _lock, warnings.catch_warnings(), pydicom.config.disable_value_validation():
                warnings.simplefilter("ignore")
                # Files of old scanners lack the mark and the header in front of it.
                dataset = pydicom.dcmread(file, stop_before_pixels=not pixels, specific_tags=list(tags), force=True)
                if "SOPClassUID" not in dataset:
                    raise bad_file(path, "is no DICOM file, or a truncated one: it does not say what it is")
                return use(dataset)
    except (DataError, MemoryError):
        raise
    except OSError as error:
        raise bad_file(path, f"cannot be read ({error.strerror or error}); check that you may read it") from error
    except Exception as error:
        raise bad_file(path, f"is damaged DICOM ({type(error).__name__}: {error}); copy it again") from error


def import_pydicom() -> ModuleType:
    """Return pydicom, which is imported at its first use because that takes time."""
    try:
        import pydicom
    except ImportError as error:
        raise DataError("reading DICOM needs pydicom: pip install -e '.[volumes]'") from error
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    return pydicom
