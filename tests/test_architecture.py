"""The shape of the program, read from its source: which room may import what, and how large anything may grow."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path.relative_to(ROOT) for room in ("data", "model", "search") for path in (ROOT / room).rglob("*.py"))

FORBIDDEN = {
    "data": {"model", "search", "torch", "ray", "wandb", "optuna"},
    "model": {"search", "ray", "wandb", "optuna"},
    "search": set(),
}
MAX_FILE_LINES = 260
MAX_FUNCTION_LINES = 60


@cache
def parse(module: Path) -> ast.Module:
    return ast.parse((ROOT / module).read_text())


@cache
def imported(module: Path) -> set[str]:
    """Return the top-level packages that a module imports anywhere, in its functions too."""
    names = set()
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import hides where it points"
            names.add(node.module.split(".")[0])
    return names


def test_there_are_modules_to_read():
    assert {module.parts[0] for module in MODULES} == {"data", "model", "search"}
    assert imported(Path("search/cluster/engine.py")) >= {"ray", "data", "search", "typing"}


def test_imports_point_from_search_to_model_to_data():
    found = {str(module): imported(module) & FORBIDDEN[module.parts[0]] for module in MODULES}
    assert {module: packages for module, packages in found.items() if packages} == {}


@pytest.mark.parametrize(("package", "room"), [("ray", "search/cluster"), ("wandb", "search/tracking")])
def test_only_one_room_knows_a_package(package, room):
    assert {str(module.parent) for module in MODULES if package in imported(module)} == {room}


def test_modules_have_a_docstring():
    assert [str(module) for module in MODULES if not ast.get_docstring(parse(module))] == []


def test_modules_are_named_for_what_they_are():
    vague = ("utils", "util", "common", "helpers", "misc")
    assert [str(module) for module in MODULES if module.stem in vague] == []


def test_modules_stay_small():
    lengths = {str(module): len((ROOT / module).read_text().splitlines()) for module in MODULES}
    assert {module: length for module, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_functions_stay_short():
    lengths = {
        f"{module}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for module in MODULES
        for node in ast.walk(parse(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 1000
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


# The README is the map of the program; the check has nothing to read where it was not checked out or not written yet.
@pytest.mark.skipif(not (ROOT / "README.md").exists(), reason="there is no README.md here")
def test_readme_names_every_file():
    readme = (ROOT / "README.md").read_text()
    named = [module for module in MODULES if module.name != "__init__.py"]
    assert [str(module) for module in named if module.name not in readme] == []
