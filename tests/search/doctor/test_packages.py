"""Packages that are missing, that have other versions than those that were tested, or that one can do without."""

import tomllib

from packaging.version import Version

from search.doctor.checks.finding import Level
from search.doctor.checks.packages import USES, check_python, check_versions
from search.doctor.facts.probe import ROOT
from search.doctor.facts.requirements import installed_version, requirements


def levels_of(find) -> dict[str, Level]:
    return {found.name: found.level for found in check_versions(find)}


def test_every_extra_that_people_install_has_a_use():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {*USES} == {*extras} - {"search", "networks", "notebook", "test"}


def test_requirements_are_those_of_pyproject():
    found = {one.name: (one.extra, one.legal) for one in requirements() if one.extra in ("", "search")}
    assert found["rich"] == ("", ">=14,<16")
    assert found["ray"][1].startswith(">=")
    assert "tumour-search" not in found


def test_tested_environment_is_well():
    assert {*levels_of(installed_version).values()} == {Level.OK}


def test_missing_package_of_a_search_is_a_failure_with_a_command():
    found = {
        one.name: one
        for one in check_versions(lambda name: None if name in ("optuna", "ray") else installed_version(name))
    }
    one = found["packages of a search"]
    assert (one.level, one.value) == (Level.FAIL, "not installed: ray, optuna")
    assert "-m pip install -e '.[search]'" in one.remedy


def test_missing_extra_is_no_problem_and_names_what_needs_it():
    found = {
        one.name: one for one in check_versions(lambda name: None if name == "pydicom" else installed_version(name))
    }
    assert found["without volumes"].level is Level.OK
    assert "DICOM" in found["without volumes"].value
    assert "'.[volumes]'" in found["without volumes"].value
    assert "volumes" not in found["extras"].value


def test_untested_version_is_named_with_the_range():
    def find(name: str) -> str | None:
        known = installed_version(name)
        return str(Version(known or "0").major + 50) if name == "optuna" else known

    found = {one.name: one for one in check_versions(find)}["optuna"]
    assert found.level is Level.WARN
    assert "but >=5.0,<6 is asked for" in found.value
    assert "pip install 'optuna>=5.0,<6'" in found.remedy


def test_build_of_torch_for_processors_is_within_the_range():
    assert levels_of(lambda name: "2.13.0+cpu" if name == "torch" else installed_version(name)).get("torch") is None


def test_nothing_installed_is_told_too():
    found = levels_of(lambda name: None)
    assert found["packages of a search"] is Level.FAIL


def test_python_and_program_are_named():
    found = {one.name: one for one in check_python()}
    assert found["Python"].level is Level.OK
    assert str(ROOT) in found["program"].value
