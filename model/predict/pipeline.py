"""The stages of a prediction: a patient is read, goes through the network, and is written.

While the network runs on one patient, a thread reads the next one and another thread writes the one before, so decoding
and compression take no time from the network. A patient whose files are damaged is reported and skipped, and the others
are finished: one bad file must not cost a night.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from data.ahead import map_ahead
from data.errors import DataError, problems_message
from data.preprocess import Prepared, prepare
from model.inference.volume import Network, predict_prepared, to_masks
from model.predict.inputs import read_volume
from model.predict.outputs import Outputs, fingerprint
from model.predict.record import VolumeRow
from model.predict.volume_files import VolumeFiles
from model.settings import ModelError, Settings


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A patient, or a line of standard input, that cannot be predicted."""

    name: str
    error: DataError | ModelError


@dataclass(frozen=True, kw_only=True)
class Done:
    """A patient whose outputs are complete."""

    row: VolumeRow
    was_there: bool
    """Whether an earlier run made the outputs."""


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A patient whose files were read."""

    volume: VolumeFiles
    input_sha256: str
    images: np.ndarray
    prepared: Prepared
    spacing_mm: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True)
class _Segmented:
    """A patient that the network has seen."""

    volume: VolumeFiles
    input_sha256: str
    images: np.ndarray
    spacing_mm: tuple[float, float, float] | None
    masks: np.ndarray
    """The mask of each region."""


@dataclass(kw_only=True)
class Pipeline:
    """The stages that every patient goes through."""

    network: Network
    settings: Settings
    outputs: Outputs
    batch_size: int
    advance: Callable[[float], None]
    """Called with each share of a patient that is finished; the shares of a patient add up to 1."""

    report: Callable[[str], None]
    """Called with the error of a patient that fails."""

    _has_predicted: bool = False

    def run(self, patients: Iterable[VolumeFiles | Failed], *, num_ahead: int) -> Iterator[Done | Failed]:
        """Yield each patient when it is finished.

        Args:
            patients: The files of patients; one that has already failed is reported when it is reached.
            num_ahead: How many patients may be read ahead of the network, and how many may wait to be written after it.

        Raises:
            ModelError: The first patient to be predicted does not suit the model, so the others probably do not either.
            DataError: The outputs cannot be written.
        """
        with (
            closing(map_ahead(self._read, patients, num_ahead=num_ahead, name="read")) as read,
            closing(map_ahead(self._write, map(self._segment, read), num_ahead=num_ahead, name="write")) as written,
        ):
            yield from written

    def _read(self, patient: VolumeFiles | Failed) -> _Read | Done | Failed:
        if isinstance(patient, Failed):
            return patient
        if patient.problem:
            return Failed(name=patient.patient, error=DataError(_unclear(patient)))
        try:
            sha256 = fingerprint(patient.files, patient.reading)
            if row := self.outputs.find(patient, sha256):
                return Done(row=row, was_there=True)
            images, spacing_mm = read_volume(patient, self.settings)
        except OSError as error:
            reason = error.strerror or error
            failure = DataError(
                f"{error.filename or patient.patient} cannot be read ({reason}); check that it exists and may be read"
            )
            return Failed(name=patient.patient, error=failure)
        except ModelError as error:
            # Among slices, those of a single patient may have other channels.
            is_slices = patient.kind.holds == "slice"
            return Failed(name=patient.patient, error=DataError(str(error)) if is_slices else error)
        except DataError as error:
            return Failed(name=patient.patient, error=error)
        prepared = prepare(images, self.settings.preprocessing)
        return _Read(volume=patient, input_sha256=sha256, images=images, prepared=prepared, spacing_mm=spacing_mm)

    def _segment(self, patient: _Read | Done | Failed) -> _Segmented | Done | Failed:
        if not isinstance(patient, _Read):
            self.advance(1)
            if isinstance(patient, Failed) and isinstance(patient.error, ModelError) and not self._has_predicted:
                raise patient.error
            return patient
        num_slices = len(patient.prepared.images)

        def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
            found = self.network(slices, mean, std)
            self.advance(len(slices) / num_slices)
            return found

        probability = predict_prepared(
            network, patient.prepared, self.settings.preprocessing, batch_size=self.batch_size
        )
        self._has_predicted = True
        return _Segmented(
            volume=patient.volume,
            input_sha256=patient.input_sha256,
            images=patient.images,
            spacing_mm=patient.spacing_mm,
            masks=to_masks(probability, self.settings),
        )

    def _write(self, patient: _Segmented | Done | Failed) -> Done | Failed:
        if isinstance(patient, Failed):
            self.report(f"error: {patient.error}")
            return patient
        if isinstance(patient, _Segmented):
            row = self.outputs.write(
                patient.volume, patient.input_sha256, patient.images, patient.masks, patient.spacing_mm
            )
            patient = Done(row=row, was_there=False)
        self.outputs.add(patient.row)
        return patient


def _unclear(patient: VolumeFiles) -> str:
    if patient.kind.holds != "slice":
        return patient.problem
    headline = f"patient {patient.patient} has slices whose names are unclear:"
    return problems_message(headline, patient.problem.splitlines())
