"""Copies of sound sources, which tests damage."""

import shutil
from pathlib import Path

import pytest

from tests.support.sources import write_brats, write_folder, write_lgg


@pytest.fixture(scope="session")
def templates(tmp_path_factory):
    """A sound source in each layout; tests damage copies."""
    top = tmp_path_factory.mktemp("templates")
    for name, write in (("lgg", write_lgg), ("folder", write_folder), ("nifti", write_brats)):
        write(top / name)
    return top


@pytest.fixture
def copy(templates, tmp_path):
    def copied(layout):
        return Path(shutil.copytree(templates / layout, tmp_path / "source"))

    return copied
