"""The person whom a patient's id names."""

import pytest

from data.errors import DataError
from data.splitting.persons import compile_pattern, describe_visits, find_person, is_visit, person_of, suspect_visits

VISITS = {
    "BraTS-GLI-02062-101": "BraTS-GLI-02062",
    "BraTS-PED-00012-000": "BraTS-PED-00012",
    "BraTS-MEN-RT-0001-1": "BraTS-MEN-RT-0001",
    "UCSF-PDGM-0429_FU003d": "UCSF-PDGM-0429",
    "UPENN-GBM-00012_11": "UPENN-GBM-00012",
    "UPENN-GBM-00012_21": "UPENN-GBM-00012",
    "TCGA_CS_4941_19960909": "TCGA_CS_4941",
    "TCGA-06-0210-01": "TCGA-06-0210",
    "sub-01_ses-02": "sub-01",
    "sub-abc_ses-preop": "sub-abc",
    "100001_time1": "100001",
    "Patient-001/week-000-1": "Patient-001",
    "PatientID_0003_Timepoint_1": "PatientID_0003",
    "RHUH-0001_2": "RHUH-0001",
    "P07_visit_2": "P07",
    "P07-baseline": "P07",
    "P07_2019-04-30": "P07",
    "P07_V2": "P07",
    "P07_pre": "P07",
    "P07-post-op": "P07",
}
PERSONS = (
    "BraTS20_Training_001",
    "BraTS2021_00495",
    "Brats18_CBICA_AAM_1",
    "BraTS-GoAT-00000",
    "UCSF-PDGM-0004",
    "TCGA-02-0003",
    "phantom_01",
    "P1_01",
    "patient_visit_01",
    "scan_3",
)


@pytest.mark.parametrize(("visit", "person"), VISITS.items())
def test_person_of_a_visit_is_the_id_without_it(visit, person):
    assert person_of(visit) == person


@pytest.mark.parametrize(
    "name", ["week-044", "ses-1", "V1", "post", "visit_a", "baseline", "2019-04-30", "FU003d", "Timepoint_1"]
)
def test_a_visit_is_no_person(name):
    assert is_visit(name)


@pytest.mark.parametrize("name", [*PERSONS[:8], "P1", "Patient-001", "time-machine", "20"])
def test_a_person_is_no_visit(name):
    assert not is_visit(name)


@pytest.mark.parametrize("patient", PERSONS)
def test_person_of_another_id_is_the_id(patient):
    assert person_of(patient) == patient


def test_suspect_visits_names_ids_that_share_a_numbered_part():
    names = [f"A{person:02d}_{visit}" for person in range(5) for visit in (1, 2)]
    assert suspect_visits(names).startswith(
        "10 patients look like visits of 5 persons (A00_1, A00_2), but are split as if each were a person"
    )
    letters = [f"{person:03d}{visit}" for person in range(5) for visit in ("-a", "-b")]
    assert suspect_visits(letters).startswith("10 patients look like visits of 5 persons (000-a, 000-b)")
    words = [f"Müller {person}_{visit}" for person in range(5) for visit in ("T0", "Untersuchung 2")]
    assert suspect_visits(words).startswith("10 patients look like visits of 5 persons (Müller 0_T0, Müller 0_Unter")


@pytest.mark.parametrize(
    "names",
    [
        [f"BraTS20_Training_{number:03d}" for number in range(20)],
        [f"BraTS20_{side}_{number:03d}" for side in ("Training", "Validation") for number in range(3)],
        [f"P_{number}" for number in range(9)],
        [f"TCGA_{site}_{number}" for site in ("CS", "DU") for number in range(4941, 4946)],
        [f"site{site}_{number:03d}" for site in (1, 2) for number in range(30)],
        [f"{number}" for number in range(9)],
        [],
    ],
)
def test_suspect_visits_is_silent_about_numbered_patients(names):
    assert suspect_visits(names) == ""


def test_describe_visits_counts_them():
    persons = {f"A{person}-{visit}": f"A{person}" for person in range(2) for visit in range(6)} | {"B": "B"}
    assert describe_visits(persons) == (
        "12 of 13 patients are visits of 2 persons, such as A0-0, A0-1, A0-2, A0-3, A0-4 and 1 more"
    )
    assert describe_visits({"A": "A", "B": "B"}) == ""


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("P[0-9]+", "P07"), ("(P)([0-9]+)", "P"), ("P(?P<patient>[0-9]+)(x)?", "07"), ("Q", ""), ("P07(x)?", "")],
)
def test_find_person_takes_the_group_or_the_whole_match(pattern, found):
    assert find_person(compile_pattern(pattern), "images/P07_1.tif") == found


def test_compile_pattern_refuses_what_is_no_regular_expression():
    with pytest.raises(DataError, match=r'^patient_pattern "\(" is not a regular expression \(.*\); --patient-pattern'):
        compile_pattern("(")
