"""Small copies of public sets, as their pages and data descriptors show them, are read as they are unpacked."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data.source import ReadingOptions, find_source
from tests.support.nifti import LABELS, SLICES, as_nifti


def write(root: Path, *paths: str) -> None:
    """Write small volumes: a segmentation where the name says so, else an image."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        is_truth = any(word in file.name.lower() for word in ("seg", "mask", "glistrboost", "gtv"))
        as_nifti(LABELS if is_truth else SLICES).to_filename(file)


FOUR = ("t1n", "t1c", "t2w", "t2f")
BRATS_2020 = ("t1", "t1ce", "t2", "flair")

SETS = {
    # University of Missouri, TCIA: patients with several time points, files that begin with "brain".
    "MU-Glioma-Post": (
        [
            f"PatientID_{n:04d}/Timepoint_{k}/PatientID_{n:04d}_Timepoint_{k}_{role}.nii.gz"
            for n, k in ((3, 1), (3, 2), (5, 1))
            for role in (*(f"brain_{name}" for name in FOUR), "tumorMask")
        ],
        {},
        {
            "PatientID_0003_Timepoint_1": "PatientID_0003",
            "PatientID_0003_Timepoint_2": "PatientID_0003",
            "PatientID_0005_Timepoint_1": "PatientID_0005",
        },
        4,
    ),
    # University of California San Diego, TCIA: several segmentations, of which one is that of BraTS.
    "UCSD-PTGBM": (
        [
            f"UCSD-PTGBM-{n}/UCSD-PTGBM-{n}_{role}.nii.gz"
            for n in ("0002_01", "0002_02", "0004_01")
            for role in ("T1pre", "T1post", "T2", "FLAIR", "BraTS_tumor_seg", "total_cellular_tumor_seg", "brain_mask")
        ],
        {"segmentation": "*_BraTS_tumor_seg.nii.gz"},
        {f"UCSD-PTGBM-{n}": f"UCSD-PTGBM-{n[:4]}" for n in ("0002_01", "0002_02", "0004_01")},
        4,
    ),
    # University of California San Francisco, longitudinal: two times in one folder, and differences of images.
    "UCSF-ALPTDG": (
        [
            f"{n}/{n}_{role}.nii.gz"
            for n in (100001, 100002)
            for role in (
                *(f"time{k}_{name}" for k in (1, 2) for name in (*BRATS_2020, "t1ce-t1", "seg")),
                "flair_subtraction",
            )
        ],
        {},
        {f"{n}_time{k}": str(n) for n in (100001, 100002) for k in (1, 2)},
        4,
    ),
    # Río Hortega University Hospital, TCIA: a folder for each time, before and after surgery.
    "RHUH-GBM": (
        [
            f"RHUH-000{n}/{k}/RHUH-000{n}_{k}_{role}.nii.gz"
            for n in (1, 2)
            for k in (0, 1, 2)
            for role in (*BRATS_2020, "adc", "segmentations")
        ],
        {},
        {f"RHUH-000{n}_{k}": f"RHUH-000{n}" for n in (1, 2) for k in (0, 1, 2)},
        5,
    ),
    # Erasmus Glioma Database: a numbered folder for each modality.
    "EGD": (
        [
            f"EGD-000{n}/{folder}/NIFTI/{folder[2:]}.nii.gz"
            for n in (1, 2)
            for folder in ("1_T1", "2_T1GD", "3_T2", "4_FLAIR", "5_MASK")
        ],
        {},
        {"EGD-0001": "EGD-0001", "EGD-0002": "EGD-0002"},
        4,
    ),
    # BraTS-Africa, TCIA: two groups of patients.
    "BraTS-Africa": (
        [
            f"{group}/BraTS-SSA-{n}-000/BraTS-SSA-{n}-000-{role}.nii.gz"
            for group, n in (("95_Glioma", "00002"), ("51_OtherNeoplasms", "00018"))
            for role in (*FOUR, "seg")
        ],
        {},
        {"BraTS-SSA-00002-000": "BraTS-SSA-00002", "BraTS-SSA-00018-000": "BraTS-SSA-00018"},
        4,
    ),
    # BRATS-TCGA-LGG, TCIA: dates with points, an automatic segmentation and one that was corrected, in most folders.
    "BRATS-TCGA-LGG": (
        [
            f"Pre-operative_TCGA_LGG_NIfTI_and_Segmentations/{n}/{n}_1996.09.19_{role}.nii.gz"
            for n in ("TCGA-CS-4941", "TCGA-CS-4942")
            for role in ("t1", "t1Gd", "t2", "flair", "GlistrBoost", "GlistrBoost_ManuallyCorrected")
            if (n, role) != ("TCGA-CS-4942", "GlistrBoost_ManuallyCorrected")
        ],
        {},
        {f"{n}_1996.09.19": n for n in ("TCGA-CS-4941", "TCGA-CS-4942")},
        4,
    ),
    # BraTS-MEN-RT 2024: one modality, and the target of radiotherapy.
    "BraTS-MEN-RT": (
        [f"BraTS-MEN-RT-000{n}-1/BraTS-MEN-RT-000{n}-1_{role}.nii.gz" for n in (0, 1) for role in ("t1c", "gtv")],
        {},
        {f"BraTS-MEN-RT-000{n}-1": f"BraTS-MEN-RT-000{n}" for n in (0, 1)},
        1,
    ),
    # FeTS 2022: the files of BraTS under other names.
    "FeTS 2022": (
        [
            f"MICCAI_FeTS2022_TrainingData/FeTS2022_0000{n}/FeTS2022_0000{n}_{role}.nii.gz"
            for n in (0, 2)
            for role in (*BRATS_2020, "seg")
        ],
        {},
        {f"FeTS2022_0000{n}": f"FeTS2022_0000{n}" for n in (0, 2)},
        4,
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_a_public_set_is_read_as_it_is(tmp_path, name):
    paths, options, persons, num_channels = SETS[name]
    write(tmp_path, *paths)
    found = find_source(str(tmp_path), reading=ReadingOptions(**options), phantom_root=tmp_path)
    assert {patient.id: patient.person for patient in found.patients} == persons
    assert (found.format, found.skipped, len(found.channel_names)) == ("nifti", (), num_channels)
    for patient in found.patients:
        volume = patient.read()
        assert volume.images.shape == (*SLICES.shape, num_channels)
        np.testing.assert_array_equal(volume.masks > 0, LABELS > 0)


def test_the_corrected_segmentation_is_taken_where_there_is_one(tmp_path):
    write(tmp_path, *SETS["BRATS-TCGA-LGG"][0])
    patients = find_source(str(tmp_path), phantom_root=tmp_path).patients
    assert [patient.files[-1].name.partition("19_")[2] for patient in patients] == [
        "GlistrBoost_ManuallyCorrected.nii.gz",
        "GlistrBoost.nii.gz",
    ]


def test_cheng_figshare_set_as_png_counts_each_image_as_a_patient(tmp_path):
    # Cheng 2017, on figshare, as it is found in PNG: 3,064 slices of 233 patients, whose names say no patient.
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for n in range(1, 6):
            pixels = np.full((8, 8), 255 if kind == "masks" else n, np.uint8)
            cv2.imwrite(str(tmp_path / kind / f"{n}.png"), pixels)
    found = find_source(str(tmp_path), phantom_root=tmp_path)
    assert (found.format, len(found.patients)) == ("folder", 5)
    assert "slices of one patient may then be on both sides" in found.warnings[0]
