"""Where patients come from: one word on the command line is turned into a format and its patients."""

from pathlib import Path

from data.lgg import find_patients
from data.patient import DataError, Patient
from data.phantom import write_phantom

DEFAULT_NUM_PHANTOMS = 24
MIN_PHANTOMS, MAX_PHANTOMS = 3, 10_000  # below three there is no split; above, hours and 8 GB


def find_source(source: str, *, phantom_root: Path) -> tuple[str, tuple[Patient, ...]]:
    """Returns the format ("phantom" or "lgg") and the patients that source stands for.

    "phantom" and "phantom:40" are synthetic patients (24, or as many as asked), written below phantom_root when
    first used. Anything else is the path of a folder in the LGG layout; a folder that is called phantom is "./phantom".

    Raises:
        DataError: the number of phantoms is illegal, or the folder is not a data set.
    """
    if source == "phantom" or source.startswith("phantom:"):
        root = write_phantom(phantom_root, num_patients=_num_phantoms(source))
        return "phantom", find_patients(root)
    if not source.strip():
        raise DataError('the data source is empty, but must be a folder, "phantom" or "phantom:N".')
    return "lgg", find_patients(Path(source).expanduser())


def _num_phantoms(source: str) -> int:
    _, colon, number = source.partition(":")
    if not colon:
        return DEFAULT_NUM_PHANTOMS
    # isascii: "²" is a digit to isdigit, but not to int.
    if not (number.isascii() and number.isdigit() and MIN_PHANTOMS <= int(number[:9]) <= MAX_PHANTOMS):
        raise DataError(
            f'data source "{source}": the number of phantoms is "{number}", but must be a whole number from '
            f'{MIN_PHANTOMS} to {MAX_PHANTOMS}, for example "phantom:40".'
        )
    return int(number)
