"""Arrays that may be larger than memory: rows are written to a temporary file one after the other, and then mapped.

The operating system keeps in memory as much of the file as it has room for, and reads the rest when it is needed.
"""

import tempfile

import numpy as np

from data.errors import DataError


class Rows:
    """An array that grows at its end; its file has no name, so that nothing is left of it, however the process ends.

    A context, within which it grows; what `array` returned lives on.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._length = 0

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: np.ndarray) -> None:
        """Add rows, which must have the type, and but for the first axis the shape, of those before.

        Raises:
            DataError: The file system of temporary files is full.
        """
        self._kind = (rows.dtype, rows.shape[1:])
        self._length += len(rows)
        try:
            self._file.write(np.ascontiguousarray(rows).data)
            self._file.flush()
        except OSError as error:
            raise DataError(
                f"{self._file.tell() / 1e9:.1f} GB of slices are in a temporary file in {tempfile.gettempdir()}, and "
                f"more cannot be written ({error}): make room there, or name another folder in TMPDIR"
            ) from error

    def array(self) -> np.ndarray:
        """Return all rows, read-only."""
        dtype, shape = self._kind
        # asarray: the plain array, which pickle hands on without a copy as it does not np.memmap.
        return np.asarray(np.memmap(self._file, dtype=dtype, mode="r", shape=(self._length, *shape)))
