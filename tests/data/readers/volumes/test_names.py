"""What the names of volumes in public data sets say."""

import pytest

from data.readers.truth import is_tumour, trust
from data.readers.volumes.cases.names import Name, family_of, is_known_modality, parse

NAMES = {
    "BraTS20_Training_001_flair": ("BraTS20_Training_001", "flair", False),
    "BraTS-GLI-00000-000-t1c": ("BraTS-GLI-00000-000", "t1c", False),
    "W39_1998.09.19_Segm": ("W39_1998.09.19", "segm", True),
    "BRATS_001": ("BRATS_001", "", False),
    "BraTS2021_00000_0000": ("BraTS2021_00000_0000", "", False),
    "UCSF-PDGM-0429_FU003d_tumor_segmentation": ("UCSF-PDGM-0429_FU003d", "tumor_segmentation", True),
    "UCSF-PDGM-0004_brain_segmentation": ("UCSF-PDGM-0004", "brain_segmentation", True),
    "UCSF-PDGM-0004_T1c_bias": ("UCSF-PDGM-0004_T1c_bias", "", False),
    "UPENN-GBM-00002_11_T1GD": ("UPENN-GBM-00002_11", "t1gd", False),
    "UPENN-GBM-00002_11_automated_approx_segm": ("UPENN-GBM-00002_11", "automated_approx_segm", True),
    "TCGA-02-0006_1996.08.23_t1Gd": ("TCGA-02-0006_1996.08.23", "t1gd", False),
    "TCGA-02-0006_1996.08.23_GlistrBoost_ManuallyCorrected": (
        "TCGA-02-0006_1996.08.23",
        "glistrboost_manuallycorrected",
        True,
    ),
    "sub-01_ses-1_ce-gadolinium_T1w": ("sub-01_ses-1", "ce-gadolinium_t1w", False),
    "sub-01_space-MNI_desc-tumor_mask": ("sub-01", "space-mni_desc-tumor_mask", True),
    "sub-01_label-lesion_mask": ("sub-01", "label-lesion_mask", True),
    "PatientID_0003_Timepoint_1_brain_t1c": ("PatientID_0003_Timepoint_1", "brain_t1c", False),
    "PatientID_0003_Timepoint_1_tumorMask": ("PatientID_0003_Timepoint_1", "tumormask", True),
    "EGD-0001_T2_FLAIR": ("EGD-0001", "t2_flair", False),
    "VSD.Brain.XX.O.MR_Flair.54512": ("", "flair", False),
    "VSD.Brain_3more.XX.O.OT.54517": ("", "ot", True),
    "CT1": ("", "ct1", False),
    "seg": ("", "seg", True),
    "BraTS-MEN-RT-0000-1_gtv": ("BraTS-MEN-RT-0000-1", "gtv", True),
    "contrast1": ("contrast1", "", False),
    "flairy": ("flairy", "", False),
}


@pytest.mark.parametrize(("stem", "parts"), NAMES.items())
def test_parse_finds_the_case_and_the_role(stem, parts):
    assert parse(stem) == Name(*parts)


SPELLINGS = {
    "t1": ("t1", "t1n", "t1w", "t1_pre", "acq-mprage_t1w", "brain_t1"),
    "t1c": (
        *("t1c", "t1ce", "t1gd", "t1-post", "ct1", "ce-gd_t1w", "t1wce"),
        *("ce-gd_run-1_t1w", "ce-gd_space-mni152_desc-preproc_t1w", "acq-gd_t1w", "acq-postcontrast_run-2_t1w"),
    ),
    "t2": ("t2", "t2w"),
    "flair": ("flair", "t2f", "t2_flair", "t2flair"),
}


@pytest.mark.parametrize(("family", "role"), [(family, role) for family, roles in SPELLINGS.items() for role in roles])
def test_family_of_a_spelling_is_the_plainest_name(family, role):
    assert family_of(role) == family
    assert is_known_modality(role)


@pytest.mark.parametrize("role", ["t1c_bias", "perfusionx", "mine", "0000", ""])
def test_family_of_another_role_is_the_role(role):
    assert family_of(role) == role
    assert not is_known_modality(role)


def test_segmentations_of_the_brain_are_none_of_a_tumour():
    assert [is_tumour(role) for role in ("tumor_segmentation", "seg", "mask", "lesion_mask")] == [True] * 4
    assert [is_tumour(role) for role in ("brain_segmentation", "brain_mask", "wm_seg", "brainmask")] == [False] * 4


def test_manual_segmentations_are_trusted_before_automatic_ones():
    places = ("automated_segm/a_automated_approx_segm", "images_segm/a_segm", "x/a_GlistrBoost_ManuallyCorrected")
    assert [trust(place) for place in places] == [0, 1, 2]
