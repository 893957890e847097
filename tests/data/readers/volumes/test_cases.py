"""Which volumes belong together, in the trees of public data sets and in odd ones; no file is opened."""

from pathlib import PurePosixPath
from unicodedata import normalize

import pytest

from data.readers.tree import Tree
from data.readers.volumes.cases.grouping import find_cases, persons_of
from data.readers.volumes.formats.table import VOLUMES

MODALITIES = ("flair", "t1", "t1ce", "t2")


def tree_of(tmp_path, *paths):
    folders = {}
    for path in sorted(map(PurePosixPath, paths)):
        folders.setdefault(path.parent, []).append(path.name)
    return Tree(root=tmp_path, folders={folder: tuple(sorted(names)) for folder, names in folders.items()})


def found_in(tmp_path, *paths):
    """Return the roles and paths of images and of segmentations by the id of the case."""
    found = find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem)
    assert found.twice == ()
    assert found.leftovers == ()
    return {
        case.id: (
            {role: str(path) for role, path in case.images.items()},
            {role: str(path) for role, path in case.segmentations.items()},
        )
        for case in found.cases
    }


LAYOUTS = {
    "a folder a case": {
        "A": ({"t1": "x/A/A_t1.nii.gz", "flair": "x/A/A_flair.nii.gz"}, {"seg": "x/A/A_seg.nii.gz"}),
        "B": ({"t1": "x/B/B_t1.nii", "flair": "x/B/B_flair.nii"}, {"seg": "x/B/B_seg.nii"}),
    },
    "all in one folder": {
        "BraTS_00": ({"t1": "BraTS_00_t1.nii.gz", "t2": "BraTS_00_t2.nii.gz"}, {"seg": "BraTS_00_seg.nii.gz"}),
        "BraTS_01": ({"t1": "BraTS_01_t1.nii.gz", "t2": "BraTS_01_t2.nii.gz"}, {"seg": "BraTS_01_seg.nii.gz"}),
    },
    "names that are nothing but roles": {
        "P1": ({"t1": "P1/T1.nii.gz", "flair": "P1/FLAIR.nii.gz"}, {"segmentation": "P1/segmentation.nii.gz"}),
        "P2": ({"t1": "P2/T1.nii.gz", "flair": "P2/FLAIR.nii.gz"}, {"segmentation": "P2/segmentation.nii.gz"}),
    },
    "folders called like files": {
        "BraTS_1": (
            {"flair": "BraTS_1/BraTS_1_flair.nii/00000057_brain_flair.nii", "t1": "BraTS_1/BraTS_1_t1.nii/0057_t1.nii"},
            {"seg": "BraTS_1/BraTS_1_seg.nii/00000057_final_seg.nii"},
        ),
    },
    "BraTS 2015": {
        "pat0001": (
            {
                "flair": "HGG/pat0001/VSD.Brain.XX.O.MR_Flair.54512/VSD.Brain.XX.O.MR_Flair.54512.mha",
                "t1c": "HGG/pat0001/VSD.Brain.XX.O.MR_T1c.54514/VSD.Brain.XX.O.MR_T1c.54514.mha",
            },
            {"ot": "HGG/pat0001/VSD.Brain_3more.XX.O.OT.54517/VSD.Brain_3more.XX.O.OT.54517.mha"},
        ),
        "pat0002": (
            {
                "flair": "HGG/pat0002/VSD.Brain.XX.O.MR_Flair.54518/VSD.Brain.XX.O.MR_Flair.54518.mha",
                "t1c": "HGG/pat0002/VSD.Brain.XX.O.MR_T1c.54520/VSD.Brain.XX.O.MR_T1c.54520.mha",
            },
            {"ot": "HGG/pat0002/VSD.Brain_3more.XX.O.OT.54523/VSD.Brain_3more.XX.O.OT.54523.mha"},
        ),
    },
    "the misnamed segmentation of BraTS 2020": {
        "B_355": (
            {"flair": "T/B_355/B_355_flair.nii", "t1": "T/B_355/B_355_t1.nii"},
            {"segm": "T/B_355/W39_1998.09.19_Segm.nii"},
        ),
    },
    "one file for all channels": {
        "BRATS_001": ({"": "imagesTr/BRATS_001.nii.gz"}, {"seg": "labelsTr/BRATS_001.nii.gz"}),
        "BRATS_002": ({"": "imagesTr/BRATS_002.nii.gz"}, {"seg": "labelsTr/BRATS_002.nii.gz"}),
        "BRATS_485": ({"": "imagesTs/BRATS_485.nii.gz"}, {}),
    },
    "nnU-Net": {
        "C_1": (
            {"0000": "imagesTr/C_1_0000.nii.gz", "0001": "imagesTr/C_1_0001.nii.gz"},
            {"seg": "labelsTr/C_1.nii.gz"},
        ),
        "C_2": (
            {"0000": "imagesTr/C_2_0000.nii.gz", "0001": "imagesTr/C_2_0001.nii.gz"},
            {"seg": "labelsTr/C_2.nii.gz"},
        ),
    },
    "cases that are numbered like channels": {
        "C_0000": ({"": "imagesTr/C_0000.nii.gz"}, {"seg": "labelsTr/C_0000.nii.gz"}),
        "C_0001": ({"": "imagesTr/C_0001.nii.gz"}, {"seg": "labelsTr/C_0001.nii.gz"}),
    },
    "UCSF-PDGM": {
        "UCSF-PDGM-0429_FU003d": (
            {
                "flair": "UCSF-PDGM-0429_FU003d_nifti/UCSF-PDGM-0429_FU003d_FLAIR.nii.gz",
                "flair_bias": "UCSF-PDGM-0429_FU003d_nifti/UCSF-PDGM-0429_FU003d_FLAIR_bias.nii.gz",
            },
            {
                "brain_segmentation": "UCSF-PDGM-0429_FU003d_nifti/UCSF-PDGM-0429_FU003d_brain_segmentation.nii.gz",
                "tumor_segmentation": "UCSF-PDGM-0429_FU003d_nifti/UCSF-PDGM-0429_FU003d_tumor_segmentation.nii.gz",
            },
        ),
    },
    "UPENN-GBM": {
        "U-01_11": (
            {
                "flair": "images_structural/U-01_11/U-01_11_FLAIR.nii.gz",
                "t1gd": "images_structural/U-01_11/U-01_11_T1GD.nii.gz",
            },
            {
                "automated_approx_segm": "automated_segm/U-01_11_automated_approx_segm.nii.gz",
                "segm": "images_segm/U-01_11_segm.nii.gz",
            },
        ),
    },
    "BIDS": {
        "sub-01_ses-1": (
            {
                "flair": "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nii.gz",
                "ce-gd_t1w": "sub-01/ses-1/anat/sub-01_ses-1_ce-gd_T1w.nii.gz",
                "t1w": "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
            },
            {"label-lesion_mask": "derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_label-lesion_mask.nii.gz"},
        ),
    },
    "a folder a modality": {
        "P1": ({"t1": "T1/P1.nii.gz", "flair": "FLAIR/P1.nii.gz"}, {"seg": "masks/P1.nii.gz"}),
        "P2": ({"t1": "T1/P2.nii.gz", "flair": "FLAIR/P2.nii.gz"}, {"seg": "masks/P2.nii.gz"}),
    },
    "a folder a modality in each case": {
        "P1": ({"t1": "P1/T1/T1.nii.gz", "flair": "P1/FLAIR/FLAIR.nii.gz"}, {"seg": "P1/seg/seg.nii.gz"}),
        "P2": ({"t1": "P2/T1/T1.nii.gz", "flair": "P2/FLAIR/FLAIR.nii.gz"}, {"seg": "P2/seg/seg.nii.gz"}),
    },
    "words of somebody's own": {
        "A": ({"cbv": "A/A_cbv.nii", "mine": "A/A_mine.nii"}, {"seg": "A/A_seg.nii"}),
        "B": ({"cbv": "B/B_cbv.nii", "mine": "B/B_mine.nii"}, {"seg": "B/B_seg.nii"}),
    },
    "one name in two folders": {
        "x_A": ({"t1": "x/A/A_t1.nii"}, {"seg": "x/A/A_seg.nii"}),
        "y_A": ({"t1": "y/A/A_t1.nii"}, {"seg": "y/A/A_seg.nii"}),
    },
    "one prefix in all folders": {
        "P1": ({"t1": "P1/scan_t1.nii", "t2": "P1/scan_t2.nii"}, {"seg": "P1/scan_seg.nii"}),
        "P2": ({"t1": "P2/scan_t1.nii", "t2": "P2/scan_t2.nii"}, {"seg": "P2/scan_seg.nii"}),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_find_cases_of(tmp_path, layout):
    expected = LAYOUTS[layout]
    paths = [path for parts in expected.values() for files in parts for path in files.values()]
    assert found_in(tmp_path, *paths) == expected


def test_find_cases_keeps_the_name_that_several_have(tmp_path):
    found = find_cases(tree_of(tmp_path, "x/A/A_t1.nii", "y/A/A_t1.nii"), VOLUMES.known_stem)
    assert [(case.id, case.name) for case in found.cases] == [("x_A", "A"), ("y_A", "A")]


def test_find_cases_leaves_out_what_is_no_case(tmp_path):
    paths = ("A/A_t1.nii", "A/A_seg.nii", "A/other.nii", "atlas/brain_mask.nii", "A/A_t1.nii.gz", "A/notes.txt")
    found = find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem)
    assert [case.id for case in found.cases] == ["A"]
    assert [str(path) for path in found.leftovers] == ["A/other.nii", "atlas/brain_mask.nii"]
    assert [tuple(map(str, pair)) for pair in found.twice] == [("A/A_t1.nii", "A/A_t1.nii.gz")]


def test_find_cases_of_an_empty_tree(tmp_path):
    assert find_cases(tree_of(tmp_path), VOLUMES.known_stem).cases == ()


def test_find_cases_gives_cases_of_one_name_in_several_folders_ids_of_their_own(tmp_path):
    folders = [f"{site}/{folder}" for site in "AB" for folder in ("imagesTr", "labelsTr")]
    paths = [f"{folder}/BRATS_00{k}.nii.gz" for folder in folders for k in (1, 2)]
    found = find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem)
    assert [case.id for case in found.cases] == [f"{site}_imagesTr_BRATS_00{k}" for site in "AB" for k in (1, 2)]
    assert all(len(case.segmentations) == 1 for case in found.cases)


UCSF = "UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_"


@pytest.mark.parametrize(
    ("paths", "case", "roles"),
    [
        (
            [f"{UCSF}{role}.nii" for role in ("T1", "T1_bias", "FLAIR", "ADC", "DTI_eddy_FA", "DTI_eddy_L1")],
            "UCSF-PDGM-0004",
            "adc dti_eddy_fa dti_eddy_l1 flair t1 t1_bias",
        ),
        (
            ["sub-01/anat/sub-01_T1w.nii", "sub-01/func/sub-01_task-rest_bold.nii", "sub-01/dwi/sub-01_dir-AP_dwi.nii"],
            "sub-01",
            "dir-ap_dwi t1w task-rest_bold",
        ),
    ],
    ids=["UCSF-PDGM", "BIDS"],
)
def test_further_files_of_a_case_are_part_of_it(tmp_path, paths, case, roles):
    found = find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem)
    assert [one.id for one in found.cases] == [case]
    assert " ".join(sorted(found.cases[0].images)) == roles
    assert found.leftovers == ()


def test_a_volume_without_a_role_is_no_channel_beside_those_with_one(tmp_path):
    paths = ("imagesTr/B_1_0000.nii.gz", "labelsTr/B_1.nii.gz", "pre/gt_segmentations/B_1.nii.gz")
    found = find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem)
    assert [(case.id, list(case.images)) for case in found.cases] == [("B_1", ["0000"])]
    assert [str(path) for path in found.leftovers] == ["pre/gt_segmentations/B_1.nii.gz"]


def test_a_case_whose_name_begins_another_is_no_part_of_it(tmp_path):
    paths = ("P01.nii.gz", "P01_seg.nii.gz", "P01_1.nii.gz", "P01_1_seg.nii.gz")
    found = find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem)
    assert [(case.id, len(case.images), len(case.segmentations)) for case in found.cases] == [
        ("P01", 1, 1),
        ("P01_1", 1, 1),
    ]


def test_a_segmentation_may_be_called_like_the_folder_of_its_case(tmp_path):
    paths = ("images/P1/T1.nii.gz", "images/P2/T1.nii.gz", "labels/P1.nii.gz", "labels/P2.nii.gz")
    found = find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem)
    assert [(case.id, [*map(str, case.segmentations.values())]) for case in found.cases] == [
        ("P1", ["labels/P1.nii.gz"]),
        ("P2", ["labels/P2.nii.gz"]),
    ]


def segmentations_of(found):
    """Return the first image and the segmentations of each case."""
    return {str(next(iter(case.images.values()))): [*map(str, case.segmentations.values())] for case in found.cases}


@pytest.mark.parametrize(
    ("others", "images", "labels"),
    [
        ("imagesTest/B_000c_flair.nii", "imagesTr/B_000c_flair.nii", "labelsTr/B_000c_seg.nii"),
        ("augmented/B_1_flair.nii", "images/B_1_flair.nii", "labels/B_1_seg.nii"),
        ("imagesTs/B_1.nii", "imagesTr/B_1.nii", "labelsTr/B_1.nii"),
        ("Testing/B_1_flair.nii", "Training/B_1_flair.nii", "Training_labels/B_1_seg.nii"),
    ],
)
def test_a_segmentation_belongs_to_the_images_whose_folder_is_called_like_its_own(tmp_path, others, images, labels):
    found = find_cases(tree_of(tmp_path, others, images, labels), VOLUMES.known_stem)
    assert segmentations_of(found) == {others: [], images: [labels]}
    assert found.unclear == ()


def test_each_side_of_a_set_has_its_own_segmentations(tmp_path):
    paths = [f"{kind}{side}/B_1.nii" for kind in ("images", "labels") for side in ("Tr", "Ts")]
    found = segmentations_of(find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem))
    assert found == {"imagesTr/B_1.nii": ["labelsTr/B_1.nii"], "imagesTs/B_1.nii": ["labelsTs/B_1.nii"]}


def test_a_segmentation_that_fits_cases_of_several_folders_is_unclear(tmp_path):
    paths = ("Testing/B_1_flair.nii", "Training/B_1_flair.nii", "Truth/B_1_seg.nii")
    found = find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem)
    assert [*map(str, found.unclear)] == ["Truth/B_1_seg.nii"]
    assert not any(case.segmentations for case in found.cases)


def test_cases_that_are_numbered_like_channels_are_several_though_some_have_no_segmentation(tmp_path):
    paths = [*(f"imagesTr/B_{n:04d}.nii" for n in range(3)), "labelsTr/B_0000.nii"]
    assert len(find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem).cases) == 3


def test_a_segmentation_may_spell_its_case_in_other_letters(tmp_path):
    paths = [*(f"p{k}_flair.nii" for k in (1, 2)), *(f"P{k}_seg.nii" for k in (1, 2))]
    found = segmentations_of(find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem))
    assert found == {f"p{k}_flair.nii": [f"P{k}_seg.nii"] for k in (1, 2)}


def test_segmentations_may_lie_in_folders_called_like_those_of_the_images(tmp_path):
    paths = [
        f"{folder}/P{k}/{name}.nii" for k in (1, 2) for folder, name in (("images", "flair"), ("segmentations", "seg"))
    ]
    found = segmentations_of(find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem))
    assert found == {f"images/P{k}/flair.nii": [f"segmentations/P{k}/seg.nii"] for k in (1, 2)}


def test_post_is_part_of_the_case_where_other_files_say_so(tmp_path):
    paths = [f"P1_{visit}/P1_{visit}_{role}.nii" for visit in ("pre", "post") for role in ("t1", "flair", "seg")]
    found = found_in(tmp_path, *paths)
    assert {case: sorted(images) for case, (images, _) in found.items()} == {
        "P1_pre": ["flair", "t1"],
        "P1_post": ["flair", "t1"],
    }


def test_names_are_compared_whichever_way_they_write_an_umlaut(tmp_path):
    paths = [normalize("NFD", "Müller_1_t1.nii"), normalize("NFC", "Müller_1_seg.nii")]
    assert list(found_in(tmp_path, *paths)) == [normalize("NFC", "Müller_1")]


def test_names_with_and_without_the_case_in_one_folder_are_one_case(tmp_path):
    found = find_cases(tree_of(tmp_path, "P1/P1_flair.nii", "P1/P1_seg.nii", "P1/T1.nii"), VOLUMES.known_stem)
    assert [(case.id, sorted(case.images), len(case.segmentations)) for case in found.cases] == [
        ("P1", ["flair", "t1"], 1),
    ]
    again = find_cases(tree_of(tmp_path, "P1/P1_T1.nii", "P1/P1_seg.nii", "P1/T1.nii"), VOLUMES.known_stem)
    assert [tuple(map(str, pair)) for pair in again.twice] == [("P1/P1_T1.nii", "P1/T1.nii")]


def test_a_stray_in_the_folder_of_a_case_is_no_case_unless_nothing_has_a_segmentation(tmp_path):
    paths = ("P1/P1_t1.nii", "P1/P1_seg.nii", "P1/P2_adc.nii")
    assert [case.id for case in find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem).cases] == ["P1"]
    alone = find_cases(tree_of(tmp_path, "x/P1_t1.nii", "x/P1_adc.nii", "x/P2_adc.nii"), VOLUMES.known_stem)
    assert [(case.id, sorted(case.images)) for case in alone.cases] == [("P1", ["adc", "t1"]), ("P2", ["adc"])]


@pytest.mark.parametrize(
    ("paths", "persons"),
    [
        (("P1/ses1/T1.nii", "P1/ses2/T1.nii", "P2/ses1/T1.nii"), ["P1", "P1", "P2"]),
        (("P1/visit_a/T1.nii", "P1/visit_b/T1.nii", "P2/visit_a/T1.nii"), ["P1", "P1", "P2"]),
        (("Patient-001/week-000-1/CT1.nii", "Patient-001/week-044/CT1.nii"), ["Patient-001", "Patient-001"]),
        (("P1/week-1/week-1_T1.nii", "P2/week-1/week-1_T1.nii"), ["P1", "P2"]),
        (("P1/a/T1.nii", "P1/b/T1.nii", "P2/a/T1.nii", "P2/b/T1.nii"), ["P1", "P1", "P2", "P2"]),
        (("P1/scan_t1.nii", "P2/scan_t1.nii"), ["P1", "P2"]),
        (("P1/V1/T1.nii", "P1/V2/T1.nii", "P2/V1/T1.nii"), ["P1", "P1", "P2"]),
        (("pre/P1/T1.nii", "post/P1/T1.nii", "pre/P2/T1.nii"), ["P1", "P1", "P2"]),
        (("imagesTr/001_t1.nii", "imagesTs/001_t1.nii", "imagesTr/002_t1.nii"), ["001", "001", "002"]),
        (("pre/P1_T1.nii", "post/P1_T1.nii"), ["P1", "P1"]),
        (("site1/P1/T1.nii", "site2/P1/T1.nii"), ["site1/P1", "site2/P1"]),
        (("P1/T1.nii", "P2/T1.nii"), ["P1", "P2"]),
        (("x/A/A_t1.nii", "y/A/A_t1.nii"), ["A", "A"]),
        (("BraTS-GLI-00001-000-t1n.nii", "BraTS-GLI-00001-001-t1n.nii"), ["BraTS-GLI-00001", "BraTS-GLI-00001"]),
    ],
)
def test_person_is_named_by_the_case_or_by_the_folders_above_a_visit(tmp_path, paths, persons):
    cases = find_cases(tree_of(tmp_path, *paths), VOLUMES.known_stem).cases
    found = persons_of(cases)
    by_home = {str(path): found[case.id] for case in cases for path in case.images.values()}
    assert [by_home[path] for path in paths] == persons
