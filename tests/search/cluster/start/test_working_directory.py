"""Modules of the working directory that have the names of this program's packages."""

import subprocess
import sys

import pytest

import search
from data.errors import UserError
from search.cluster.start.working_directory import check_working_directory

IMPORTS = {"search": "import search, model.networks.registry", "model": "import model.networks.registry"}


@pytest.mark.parametrize("package", IMPORTS)
def test_modules_of_the_working_directory_do_not_take_the_place_of_packages(package, tmp_path):
    names = {"search": ("data", "model"), "model": ("data",)}[package]
    for name in names:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('imported')")
    root = search.__path__[0].removesuffix("search")
    code = f"import sys; sys.path.insert(1, {root!r}); {IMPORTS[package]}"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_another_program_in_the_working_directory_is_refused(tmp_path, monkeypatch):
    check_working_directory()
    monkeypatch.chdir(tmp_path)
    check_working_directory()
    (tmp_path / "search.py").touch()
    with pytest.raises(UserError, match=rf"would import {tmp_path}/search.py instead of this program"):
        check_working_directory()
