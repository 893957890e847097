"""One thing is wrong, in a file or with what lies around it: it is named with its reason, or left out."""

import re

import pytest

from data.errors import BadFiles, by_cause
from search.cohort import read_cohort
from tests.data.bad_input.folder_cases import FOLDER
from tests.data.bad_input.lgg_cases import LGG
from tests.data.bad_input.nifti_cases import NIFTI
from tests.support.damage import Case
from tests.support.sources import ALL, assert_slices, config_of

pytestmark = pytest.mark.slow

CASES = [(layout, case) for layout, cases in (("lgg", LGG), ("folder", FOLDER), ("nifti", NIFTI)) for case in cases]


def named(pairs: list[tuple[str, Case]]) -> list:
    return [pytest.param(layout, case, id=f"{layout}: {case.name}") for layout, case in pairs]


def assert_problems(problems, case, source):
    found = {str(problem.path.relative_to(source)): problem.reason for problem in problems}
    assert found.keys() == case.problems.keys()
    for path, reason in case.problems.items():
        assert re.match(reason, found[path]), found[path]


@pytest.mark.parametrize(("layout", "case"), named(CASES))
def test_a_bad_file_stops_the_run_and_is_named_with_the_reason(copy, layout, case):
    source = copy(layout)
    case.damage(source)
    with pytest.raises(BadFiles) as caught:
        read_cohort(config_of(source, data_format=layout))
    assert_problems(caught.value.problems, case, source)
    for where, reason in by_cause(caught.value.problems):
        assert f"\n  - {where}: {reason}" in str(caught.value)
    assert "--skip-bad-files" in str(caught.value)


@pytest.mark.parametrize(("layout", "case"), named([pair for pair in CASES if pair[1].lost is not None]))
def test_skipping_bad_files_leaves_out_exactly_what_needs_them(copy, layout, case):
    source = copy(layout)
    case.damage(source)
    cohort = read_cohort(config_of(source, data_format=layout, skip_bad_files=True))
    assert_problems(cohort.skipped, case, source)
    assert_slices(cohort, ALL - case.lost)
