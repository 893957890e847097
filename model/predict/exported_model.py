"""An exported model for use from Python: load it, and predict the volume of a patient.

model = ExportedModel.load(Path("runs/lgg/best"))
for files in find_volumes(Path("a_patient"), model.settings):
    images, spacing_mm = read_volume(files, model.settings)
    masks = model.segment(images)
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Shaped, UInt

from data.regions import to_labels
from model.inference.onnx_file import model_file
from model.inference.runtime import ChosenRuntime, choose_runtime, load_model
from model.inference.volume import Network, predict_volume, to_masks
from model.settings import Settings


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """A model that is loaded and ready to predict."""

    file: Path
    network: Network
    settings: Settings
    runtime: ChosenRuntime
    """The library that runs the network, with its precision and device."""

    @classmethod
    def load(cls, path: Path, *, runtime: str = "auto") -> "ExportedModel":
        """Return the model in a file, or in the folder that holds `model.onnx`.

        Raises:
            ModelError: As `load_model`.
            MemoryError: There is not enough memory.
        """
        chosen = choose_runtime(runtime)
        network, settings = load_model(path, runtime=chosen.engine)
        return cls(file=model_file(path), network=network, settings=settings, runtime=chosen)

    @property
    def default_batch_size(self) -> int:
        """The fastest number of slices in a batch: 1 on a CPU, where larger batches are slower, and 16 on a GPU."""
        return 1 if self.runtime.device == "CPU" else 16

    def probability(
        self, images: Shaped[np.ndarray, "slices height width channels"], *, batch_size: int | None = None
    ) -> Float32[np.ndarray, "regions slices height width"]:
        """Return the probability of each region for every pixel of a patient; pass all slices of the patient at once.

        The regions are `settings.regions`; most models have one.
        """
        size = batch_size or self.default_batch_size
        return predict_volume(self.network, images, self.settings.preprocessing, batch_size=size)

    def segment(
        self, images: Shaped[np.ndarray, "slices height width channels"], *, batch_size: int | None = None
    ) -> Bool[np.ndarray, "slices height width"] | UInt[np.ndarray, "slices height width"]:
        """Return the segmentation of a patient, by the thresholds that were chosen with the model.

        It says whether a pixel is tumour; for a model of several regions, it holds the labels of `settings.regions`.
        """
        return to_labels(self.masks(images, batch_size=batch_size), self.settings.regions)

    def masks(
        self, images: Shaped[np.ndarray, "slices height width channels"], *, batch_size: int | None = None
    ) -> Bool[np.ndarray, "regions slices height width"]:
        """Return the mask of each region of a patient."""
        return to_masks(self.probability(images, batch_size=batch_size), self.settings)
