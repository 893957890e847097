"""What a series is by its description, in the spellings that clinics use."""

import pytest

from data.readers.dicom.series.roles import role_of, slug_of

DESCRIPTIONS = {
    "t1c": (
        "AX T1 POST GD|T1W+C|COR T1 C+|T1 + C|AX T1 +C|T1+GD|T1 W CONTRAST|t1_mprage_sag_p2_iso_KM|T1 nach KM|T1CE|"
        "AX T1 FLAIR +C|SAG 3D T1 BRAVO POST|sT1W_3D_TFE+C|AXT1-post|T1 TSE axial injecte|WATER: AX T1 POST|MPRAGE post"
    ),
    "t1": (
        "SAG T1 3D MPRAGE|AX T1|AX T1 PRE|AX T1 PRE GAD|T1 w/o contrast|AX T1 WO CONTRAST|T1 nativ|T1 vor KM|AX "
        "FSPGR 3D|"
        "SAG T1 FLAIR|eT1W_SE|AX T1 NON CONTRAST|Ax T1 SE C-|T1-weighted|MP-RAGE"
    ),
    "t2": "t2_tse_tra|AX T2 FSE|T2W_TSE|AX T2 PROPELLER|AX PD/T2|T2-weighted|T2WI",
    "flair": "Ax FLAIR FS|Ax T2 FLAIR|t2_tirm_tra_dark-fluid|T2W_FLAIR|3D_FLAIR|AXT2-flair|AX T2 FLAIR POST",
}


@pytest.mark.parametrize(
    ("role", "description"), [(role, one) for role, many in DESCRIPTIONS.items() for one in many.split("|")]
)
def test_role_of_a_description(role, description):
    assert role_of(description) == role


@pytest.mark.parametrize(
    ("description", "slug"),
    [
        ("AX DWI b1000", "ax-dwi-b1000"),
        ("t2*_tra", "t2-tra"),
        ("AX T1 SUB", "ax-t1-sub"),
        ("3 PLANE LOC", "3-plane-loc"),
        ("AX SWI", "ax-swi"),
        ("T1_MAP", "t1-map"),
        ("", "nameless"),
        ("***", "nameless"),
    ],
)
def test_role_of_anything_else_is_its_slug(description, slug):
    assert role_of(description) == slug == slug_of(description)


def test_a_contrast_agent_in_the_header_counts_where_the_description_says_neither():
    assert [role_of(text, has_contrast=True) for text in ("AX T1", "AX T1 PRE", "AX FLAIR")] == ["t1c", "t1", "flair"]
