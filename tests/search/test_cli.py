"""`tumour-search`: one name for all commands, which imports no more than the command needs."""

import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from search.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]

WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name in {packages}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Without())
from search.cli import main
sys.exit(main({arguments}))
"""
SEARCH_ONLY = [
    "torch",
    "ray",
    "optuna",
    "pandas",
    "wandb",
    "plotly",
    "pyarrow",
    "albumentations",
    "safetensors",
    "onnx",
]
"""Packages of the search extra that the infer extra does not bring."""


def run_without(packages: list[str], *arguments: str) -> subprocess.CompletedProcess:
    """Return a finished `tumour-search`, in a Python that has not installed these packages."""
    code = WITHOUT.format(packages=packages, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_help_lists_every_command(capsys):
    for arguments in (["--help"], ["-h"], []):
        assert main(arguments) == 0
        listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
        assert listed == list(COMMANDS)


def test_help_imports_no_library():
    heavy = ["numpy", "tyro", "rich", "torch", "ray", "optuna"]
    code = f"import sys, search.cli; search.cli.main(['--help']); sys.exit(any(n in sys.modules for n in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT).returncode == 0


def test_version_is_that_of_the_package(capsys):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == project["version"]
    assert project["scripts"] == {"tumour-search": "search.cli:main"}


def test_unknown_command_names_the_legal_ones(capsys):
    assert main(["train"]) == 2
    assert capsys.readouterr().err == f"error: 'train' is not a command; choose one of {', '.join(COMMANDS)}\n"


def test_every_module_that_can_be_run_is_a_command():
    found = set()
    for path in (path for room in ("data", "model", "search") for path in (ROOT / room).rglob("*.py")):
        if '\nif __name__ == "__main__":\n' in path.read_text():
            found.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    commands = {command.module for command in COMMANDS.values()}
    assert commands <= found
    # Nobody types the others: cluster.yaml runs `notice` on each node, and the search itself runs `client`.
    assert found - commands <= {"search.cluster.notice", "search.tracking.client", "search.cli"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_module_and_an_extra_that_exist(name):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert find_spec(COMMANDS[name].module) is not None
    assert COMMANDS[name].extra in {"", *extras}


def test_command_gets_the_arguments_and_its_status_is_returned(capsys, tmp_path):
    assert main(["list", "--out", str(tmp_path / "nowhere")]) == 2
    assert str(tmp_path / "nowhere") in capsys.readouterr().err


@pytest.mark.parametrize("name", ["predict", "manifest", "inspect", "download"])
def test_command_needs_no_package_of_the_search(name):
    done = run_without(SEARCH_ONLY, name, "--help")
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("tune", "ray", "search"), ("promote", "optuna", "search")],
)
@pytest.mark.slow
def test_command_without_its_extra_says_what_to_install(name, package, extra):
    done = run_without([package], name, "--help")
    install = f"run pip install -e '.[{extra}]' in the clone of the repository"
    assert done.stderr == f"error: tumour-search {name} needs {package}, which is not installed: {install}\n"
    assert done.returncode == 2


def test_missing_module_of_the_program_is_a_fault():
    done = run_without(["search.config"], "tune")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
