"""nnU-Net v2 in its `2d` configuration: its own fingerprint, plan, preprocessing, network, training and prediction.

What differs from its command line is what the short time forces: an epoch has 10 batches instead of 250 and one of
validation instead of 50, the polynomial schedule runs over the time that is used instead of 1,000 epochs, and no
checkpoint is written. It trains on all patients (fold `all`) and computes in bfloat16 where the processor can, as it
uses half precision on a GPU. Slices without a spacing are taken to be 240 mm wide, and 6 mm apart or two pixels if that
is more.

Reference: Isensee et al. 2021, doi:10.1038/s41592-020-01008-z.
"""

import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK  # pyright: ignore[reportMissingImports]  # it comes with nnU-Net, a peer that need not be installed
import torch

from data.patient import Volume
from model.device import find_device
from tests.benchmarks.entrants.contest import Task, Trained, read_patients

DATASET = "Dataset001_Quality"
CONFIGURATION = "2d"
PLANS = "nnUNetPlans"
FIELD_OF_VIEW_MM, SLICE_MM = 240.0, 6.0


def train_nnunet(task: Task) -> Trained:
    """Plan, preprocess, and train until the time is up. What nnU-Net prints goes to stderr."""
    with redirect_stdout(sys.stderr):
        return _train(task)


def _train(task: Task) -> Trained:
    num_channels = _write_raw(task)
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(task.folder / name)
    os.environ |= {"nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": str(os.cpu_count()), "nnUNet_compile": "false"}
    # Imported late, because nnU-Net reads the environment when it is imported.
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api  # pyright: ignore[reportMissingImports]

    api.extract_fingerprints([1], num_processes=os.cpu_count(), show_progress_bar=False)
    api.plan_experiments([1])
    api.preprocess([1], PLANS, configurations=[CONFIGURATION], num_processes=[os.cpu_count()], show_progress_bar=False)
    from tests.benchmarks.entrants.nnunet_trainer import TimedTrainer

    folder = task.folder / "preprocessed" / DATASET
    plans = json.loads((folder / f"{PLANS}.json").read_text()) | {"continue_training": False}
    dataset = json.loads((folder / "dataset.json").read_text())
    device = find_device().device
    trainer = TimedTrainer(plans, CONFIGURATION, "all", dataset, device)
    trainer.run_until(task)
    facts = {
        "trainings": 1,
        "epochs": trainer.current_epoch,
        "batches_per_epoch": trainer.num_iterations_per_epoch,
        "batches": trainer.num_batches,
        "batch_size": trainer.configuration_manager.batch_size,
        "patch_size": list(trainer.configuration_manager.patch_size),
        "channels": num_channels,
    }
    predictor = _predictor(trainer, device)

    def predict(volume: Volume) -> np.ndarray:
        images = np.moveaxis(volume.images, 3, 0).astype(np.float32)
        with find_device().autocast():
            masks = predictor.predict_single_npy_array(images, {"spacing": list(_spacing_mm(volume))})
        return masks > 0

    return Trained(predict=predict, facts=facts)


def _predictor(trainer: Any, device: torch.device) -> Any:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # pyright: ignore[reportMissingImports]

    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(device=device, allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    return predictor


def _write_raw(task: Task) -> int:
    """Write the patients in nnU-Net's layout, and return their number of channels."""
    folder = task.folder / "raw" / DATASET
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    num_patients = num_channels = 0
    for number, patient in enumerate(read_patients(task)):
        volume = patient.read()
        num_patients, num_channels = number + 1, volume.images.shape[3]
        for channel in range(num_channels):
            file = folder / "imagesTr" / f"case{number:04d}_{channel:04d}.nii.gz"
            _write(file, volume.images[..., channel].astype(np.float32), volume)
        _write(folder / "labelsTr" / f"case{number:04d}.nii.gz", volume.masks.astype(np.uint8), volume)
    description = {
        "channel_names": {str(channel): f"MRI {channel}" for channel in range(num_channels)},
        "labels": {"background": 0, "tumour": 1},
        "numTraining": num_patients,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return num_channels


def _write(file: Path, array: np.ndarray, volume: Volume) -> None:
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(_spacing_mm(volume)[::-1])
    SimpleITK.WriteImage(image, str(file))


def _spacing_mm(volume: Volume) -> tuple[float, float, float]:
    pixel = FIELD_OF_VIEW_MM / max(volume.images.shape[1:3])
    # nnU-Net takes the axis with the largest spacing for that of the slices.
    return volume.spacing_mm or (max(SLICE_MM, 2 * pixel), pixel, pixel)
