"""Reader of phantoms: synthetic patients, which are drawn at their first use."""

from dataclasses import replace
from pathlib import Path

from data.errors import DataError
from data.readers import lgg
from data.readers.phantom_drawing import write_phantom

DEFAULT_NUM_PHANTOMS = 24
MIN_PHANTOMS, MAX_PHANTOMS = 3, 10_000  # below three there is no split; above, hours and 8 GB


def generate(number: str | None, root: Path) -> Path:
    """Return the folder below root that holds this number of phantoms (None: 24), after drawing them at first use.

    Raises:
        DataError: The number is illegal.
    """
    return write_phantom(root, num_patients=DEFAULT_NUM_PHANTOMS if number is None else _parse(number))


def _parse(number: str) -> int:
    # isascii: "\u00b2" is a digit to isdigit, but not to int.
    if not (number.isascii() and number.isdigit() and MIN_PHANTOMS <= int(number[:9]) <= MAX_PHANTOMS):
        raise DataError(
            f'the number of phantoms is "{number}", but must be a whole number from {MIN_PHANTOMS} to {MAX_PHANTOMS}, '
            'for example "phantom:40"'
        )
    return int(number)


READER = replace(
    lgg.READER,
    recognise=None,
    options=("channels", "grayscale"),
    generate=generate,
    description="synthetic patients, drawn by a program",
    licence="Synthetic patients are free for any use.",
    warning="Trained on synthetic patients: it shows that the program works, and is of no use on real images.",
)
