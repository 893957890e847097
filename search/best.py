"""The promoted model of a search, for programs and notebooks. As in `model.predict`, it needs neither torch nor Ray."""

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data.errors import UserError
from data.printable import some
from model.inference.onnx_file import MODEL_NAME
from model.predict.exported_model import ExportedModel
from model.predict.inputs import find_all, read_volume
from model.settings import Settings
from search.record.model_metrics import ModelMetrics
from search.record.trials import TrialRow
from search.storage.download import ensure_local


@dataclass(frozen=True, kw_only=True)
class Best:
    """The promoted model of a search: where it comes from, its scores, and its predictions."""

    trial: TrialRow
    """The trial whose configuration was promoted; of an ensemble, its best member."""

    metrics: ModelMetrics
    """The scores on validation and test patients, and what was chosen for the prediction, such as the threshold."""

    folder: Path
    """The folder of the exported model, for `python -m model.predict` and `python -m model.serve`."""

    @cached_property
    def model(self) -> ExportedModel:
        """The exported model, loaded when it is first used. If only a bucket has it, it is fetched.

        Raises:
            UserError: A file is missing or damaged, the bucket cannot be reached, or no runtime is installed.
        """
        with suppress(FileNotFoundError):  # the loader says which file is missing
            ensure_local(self.folder / MODEL_NAME)
        return ExportedModel.load(self.folder)

    def predict(self, volume: np.ndarray | Path | str) -> np.ndarray:
        """Return the segmentation of a patient, an array "slices height width" as large as the slices.

        It is bool and says whether a pixel is tumour; for a model of several regions, it is uint8 or uint16 and holds
        their labels.

        Args:
            volume: All slices of the patient, an array "slices height width channels" of integers or finite floats in
                the scanner's own unit, with the channels in the order of `model.settings.channel_names`; or the path of
                the patient's files, as `python -m model.predict` takes it.

        Raises:
            UserError: The array or the files do not suit the model, a file is damaged, the path has no or several
                patients, or the model cannot be loaded.
        """
        return self.model.segment(_images(volume, self.model.settings))

    def probability(self, volume: np.ndarray | Path | str) -> np.ndarray:
        """Return the probability of each region for every pixel, a float32 array "regions slices height width", 0 to 1.

        The regions are `model.settings.regions`; most models have one.

        Args:
            volume: As in `predict`.

        Raises:
            UserError: As in `predict`.
        """
        return self.model.probability(_images(volume, self.model.settings))


def _images(volume: np.ndarray | Path | str, settings: Settings) -> np.ndarray:
    if isinstance(volume, Path | str):
        return _read_patient(Path(volume), settings)
    images = np.asarray(volume)
    _check(images, settings)
    return images


def _read_patient(source: Path, settings: Settings) -> np.ndarray:
    found = find_all([source], settings)
    if len(found) != 1:
        names = some([one.patient for one in found], most=4)
        raise UserError(f"{source} has {len(found)} patients ({names}), but must have one: give the path of each")
    images, _ = read_volume(found[0], settings)
    return images


def _check(volume: np.ndarray, settings: Settings) -> None:
    if volume.ndim != 4 or not volume.size:
        raise UserError(
            f"volume has the shape {volume.shape}, but must be (slices, height, width, channels), none of them 0"
        )
    if volume.shape[3] != settings.num_channels:
        raise UserError(
            f"volume has {volume.shape[3]} channels, but the model takes {settings.num_channels} "
            f"({', '.join(settings.channel_names)}), in the last axis"
        )
    if volume.dtype.kind not in "iuf":
        raise UserError(f"volume is an array of {volume.dtype}, but must be one of integers or floats")
    if volume.dtype.kind == "f" and not np.isfinite(volume).all():
        raise UserError("volume has values that are not finite: replace them, as by numpy.nan_to_num")
