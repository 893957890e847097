"""An exported model, read and ready to run, without torch."""

from pathlib import Path

import numpy as np

from model.inference import Network
from model.settings import ModelError, Settings

MODEL_NAME = "model.onnx"
METADATA_KEY = "tumour_search"


def load_model(path: Path) -> tuple[Network, Settings]:
    """Return the network of an exported model (the file, or the folder that holds model.onnx) and its settings.

    Raises:
        ModelError: The file is missing, damaged, or was not exported by this program.
    """
    file = path / MODEL_NAME if path.is_dir() else path
    if not file.is_file():
        raise ModelError(f"model {file} does not exist; name an exported {MODEL_NAME}, or the folder that holds it")
    try:
        import onnxruntime  # here, because reading the patients, and training, do without it
    except ImportError as error:
        raise ModelError("running a model needs onnxruntime: pip install 'tumour-search[infer]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
    except Exception as error:  # the runtime has a class of its own for each way a file can be damaged
        raise ModelError(f"model {file} cannot be read as ONNX: it is damaged or no model; export it again") from error
    if METADATA_KEY not in metadata:
        raise ModelError(f"model {file} has no {METADATA_KEY} settings: it is not of this program; export one with it")
    try:
        settings = Settings.from_json(metadata[METADATA_KEY])
    except ModelError as error:
        raise ModelError(f"model {file}: {error}; export it again with this version") from error

    def network(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        return session.run(["probability"], {"slices": slices, "mean": mean, "std": std})[0]

    return network, settings
