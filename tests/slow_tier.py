"""Print the test files of the slow tier that test what has changed since a commit, for CI.

    python -m pytest -m slow $(python tests/slow_tier.py origin/main)

A test file tests the modules that it imports or runs as a command (a text that is `search.tune`, or has `-m
search.tune` in it), and all that these import or run. Files of another kind, such as a page's template, count as
changes of the modules in their folder; dependencies and what all tests share count as changes of everything.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("data", "model", "search", "tests")
EVERYTHING = {"pyproject.toml", ".ci/constraints.txt", "tests/conftest.py"}
COMMAND = re.compile(r"^(?:.* -m )?((?:data|model|search)(?:\.[a-z_]+)+)")
NO_TESTS = re.compile(r".*\.md|\.github/.*|\.ci/(lock|run)|tests/benchmarks/results/.*")
"""Files that no slow test reads."""


def main(since: str) -> None:
    """Print the files, each in a line."""
    names = ("git", "diff", "--name-only", f"{since}...HEAD")
    changed = subprocess.run(names, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    for file in slow_files_for(changed):
        print(file)


def slow_files_for(changed: Iterable[str]) -> list[str]:
    """Return the files with slow tests that test any of the files that have changed, all as paths from the root."""
    changed = {name for name in changed if name and not NO_TESTS.fullmatch(name)}
    if changed & EVERYTHING:
        return slow_files()
    return [file for file in slow_files() if any(_concerns(name, reached(file)) for name in changed)]


@cache
def slow_files() -> list[str]:
    """Return all files with tests of the slow tier."""
    found = (path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.slow" in path.read_text())
    return [str(path.relative_to(ROOT)) for path in found]


@cache
def reached(file: str) -> frozenset[str]:
    """Return the files of all modules that a file imports or runs, directly or not, and the file itself."""
    found, new = {file}, [file]
    while new:
        more = {other for module in _named(new.pop()) for other in _files_of(module)} - found
        found |= more
        new += more
    return frozenset(found)


def _concerns(changed: str, files: frozenset[str]) -> bool:
    if changed.endswith(".py"):
        return changed in files
    folder = str(Path(changed).parent)
    return any(str(Path(file).parent) == folder for file in files)


@cache
def _named(file: str) -> frozenset[str]:
    """Return the modules, and names in modules, that a file imports or names as commands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module)):
                found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
            case ast.Constant(value=str(text)):
                found |= set(COMMAND.findall(text)) if file.startswith("tests/") or " " not in text else set()
    return frozenset(name for name in found if name.partition(".")[0] in PACKAGES)


@cache
def _files_of(module: str) -> tuple[str, ...]:
    """Return the files that run when a module is imported or run, its packages' among them; none if it is no module."""
    parts = module.split(".")
    found = ["/".join(parts[:end]) + "/__init__.py" for end in range(1, len(parts) + 1)]
    found += ["/".join(parts) + ".py", "/".join(parts) + "/__main__.py"]
    return tuple(name for name in found if (ROOT / name).is_file())


if __name__ == "__main__":
    main(*sys.argv[1:])
