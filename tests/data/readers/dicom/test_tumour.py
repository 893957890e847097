"""Which labels are the tumour, by the names that people give them."""

import pytest

from data.readers.dicom.segmentations.tumour import is_tumour_name, tumour_numbers

TUMOUR = (
    "Tumor|tumour core|GTV|GTV_1|GTVp|rGTV1|Enhancing Lesion|non-enhancing tumor|Peritumoral edema|necrotic "
    "core|WT|NCR/NET|Oedema|"
    "TumorCore|FLAIR hyperintensity|met1|Neoplasm, Primary|brain tumor|Brain_Metastasis|Ödem|œdème|Nekrose|Läsion"
)
OTHERS = "Brain|brainmask|Skull|Eye_L|OpticNerve|CTV|PTV60|Brainstem|Brain-GTV|External|Hippocampus_L|Segment 1|cavity"


@pytest.mark.parametrize("name", TUMOUR.split("|"))
def test_names_of_a_tumour(name):
    assert is_tumour_name(name)


@pytest.mark.parametrize("name", OTHERS.split("|"))
def test_names_of_something_else(name):
    assert not is_tumour_name(name)


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        ({1: "Brain", 2: "Edema", 5: "Enhancing"}, (2, 5)),
        ({1: "Segment_1"}, (1,)),
        ({3: ""}, (3,)),
        ({1: "Hippocampus"}, ()),
        ({1: "Segment 1", 2: "Segment 2"}, ()),
        ({}, ()),
    ],
)
def test_tumour_numbers_are_those_of_tumour_names_or_of_the_only_label_without_a_name(labels, numbers):
    assert tumour_numbers(labels) == numbers


def test_tumour_numbers_by_a_pattern():
    labels = {1: "Brain", 2: "Segment 1", 3: "Segment 2"}
    assert tumour_numbers(labels, "segment*") == (2, 3)
    assert tumour_numbers(labels, "*tumour*") == ()
