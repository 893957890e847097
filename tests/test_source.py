"""The data source: one word or path, and what is said about nonsense."""

import pytest
from fakes import write_lgg_patient

from data.patient import DataError
from data.source import DEFAULT_NUM_PHANTOMS, find_source


def test_source_writes_as_many_phantoms_as_asked(tmp_path):
    found = find_source("phantom:3", phantom_root=tmp_path / "runs")
    assert found.format == "phantom"
    assert [patient.id for patient in found.patients] == ["PHANTOM_0001", "PHANTOM_0002", "PHANTOM_0003"]


def test_source_has_a_default_number_of_phantoms(tmp_path, monkeypatch):
    assert DEFAULT_NUM_PHANTOMS == 24
    monkeypatch.setattr("data.source.DEFAULT_NUM_PHANTOMS", 3)  # 24 take two seconds to write
    assert len(find_source("phantom", phantom_root=tmp_path).patients) == 3


def test_source_reads_a_folder(tmp_path):
    write_lgg_patient(tmp_path / "phantom", "A")  # a path, although it ends in the word
    found = find_source(str(tmp_path / "phantom"), phantom_root=tmp_path)
    assert (found.format, [patient.id for patient in found.patients]) == ("lgg", ["A"])


@pytest.mark.parametrize("number", ["x", "", "2", "-5", "10001", "3.5", "²", "9" * 400])
def test_source_refuses_an_illegal_number_of_phantoms(tmp_path, number):
    with pytest.raises(DataError, match=r"must be a whole number from 3 to 10000, for example"):
        find_source(f"phantom:{number}", phantom_root=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("source", "message"), [("", "is empty"), ("no/such/folder", "does not exist")])
def test_source_refuses_a_path_that_is_none(tmp_path, source, message):
    with pytest.raises(DataError, match=message):
        find_source(source, phantom_root=tmp_path)
