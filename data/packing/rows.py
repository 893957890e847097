"""Arrays that may be larger than memory: rows are appended to a temporary file, which is then mapped.

The operating system keeps as much of the file in memory as there is room for, and reads the rest when it is needed.
"""

import tempfile

import numpy as np

from data.errors import DataError


class Rows:
    """An array that grows at its end, in an unnamed temporary file that vanishes however the process ends.

    Append rows within its `with` block; an array that `array` returned stays valid after the block.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._length = 0

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: np.ndarray) -> None:
        """Append rows, which must have the type of those before and, except for the first axis, their shape.

        Raises:
            DataError: The disk for temporary files is full.
        """
        self._kind = (rows.dtype, rows.shape[1:])
        self._length += len(rows)
        try:
            self._file.write(np.ascontiguousarray(rows).data)
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"a temporary file in {tempfile.gettempdir()} holds {self._file.tell() / 1e9:.1f} GB of slices, and no "
                f"more can be written ({error}); free space there, or set TMPDIR to another folder"
            ) from error

    def array(self) -> np.ndarray:
        """Return all rows, read-only."""
        dtype, shape = self._kind
        # A plain array: unlike np.memmap, pickle passes it on without a copy.
        return np.asarray(np.memmap(self._file, dtype=dtype, mode="r", shape=(self._length, *shape)))
