"""The way of a patient through a prediction: it is read, sees the network, and is written.

While the network sees one patient, a thread reads the next and another writes the one before: neither decoding nor
compressing then costs time beside the network. A patient whose files are damaged is left out, said and counted, and
the others are finished: one bad file must not cost a night.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.ahead import ahead
from data.errors import DataError
from data.preprocess import Prepared, prepare
from model.inference.volume import Network, predict_prepared, to_masks
from model.predict.images import Volume
from model.predict.inputs import read_volume
from model.predict.outputs import Outputs, fingerprint
from model.settings import ModelError, Settings


@dataclass(frozen=True, kw_only=True)
class Work:
    """A patient, and how far it has come."""

    name: str
    volume: Volume | None = None
    error: DataError | ModelError | None = None
    row: dict[str, Any] | None = None
    """Of the table."""

    was_there: bool = False
    """Whether an earlier run made the outputs."""

    sha256: str = ""
    """Of the input."""

    images: np.ndarray | None = None
    prepared: Prepared | None = None
    spacing_mm: tuple[float, float, float] | None = None
    masks: np.ndarray | None = None

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to predict, because it was, or cannot be."""
        return self.error is not None or self.was_there


@dataclass(kw_only=True)
class Steps:
    """What is done to every patient."""

    network: Network
    settings: Settings
    outputs: Outputs
    batch_size: int
    advance: Callable[[float], None]
    """Called with the share of a patient that is done."""

    say: Callable[[str], None]
    """Called with what is wrong with a patient, when it is found."""

    _has_predicted: bool = False

    def run(self, works: Iterable[Work], *, num_ahead: int) -> Iterator[Work]:
        """Yield each patient when it is done; num_ahead are read before they are asked for, and written behind.

        Raises:
            ModelError: The first patient that would be predicted does not suit the model, so none may.
        """
        with (
            closing(ahead(self._read, works, num_ahead=num_ahead, name="read")) as read,
            closing(ahead(self._write, map(self._infer, read), num_ahead=num_ahead, name="write")) as written,
        ):
            yield from written

    def _read(self, work: Work) -> Work:
        if work.is_done:
            return work
        try:
            sha256 = fingerprint(work.volume.files)
            if row := self.outputs.find(work.volume, sha256):
                return replace(work, row=row, was_there=True)
            images, spacing_mm = read_volume(work.volume, self.settings)
        except OSError as error:
            reason = error.strerror or error
            return replace(work, error=DataError(f"{error.filename or work.name} cannot be read ({reason})"))
        except (DataError, ModelError) as error:
            return replace(work, error=error)
        prepared = prepare(images, self.settings.preprocessing)
        return replace(work, sha256=sha256, images=images, prepared=prepared, spacing_mm=spacing_mm)

    def _infer(self, work: Work) -> Work:
        if work.is_done:
            self.advance(1)
            if isinstance(work.error, ModelError) and not self._has_predicted:
                raise work.error
            return work
        num_slices = len(work.prepared.images)

        def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
            found = self.network(slices, mean, std)
            self.advance(len(slices) / num_slices)
            return found

        probability = predict_prepared(network, work.prepared, self.settings.preprocessing, batch_size=self.batch_size)
        self._has_predicted = True
        return replace(work, prepared=None, masks=to_masks(probability, self.settings))

    def _write(self, work: Work) -> Work:
        if work.error is not None:
            self.say(f"error: {work.error}")
            return work
        row = work.row
        if row is None:
            row = self.outputs.write(work.volume, work.sha256, work.images, work.masks, work.spacing_mm)
        self.outputs.add(row)
        return Work(name=work.name, row=row, was_there=work.was_there)
