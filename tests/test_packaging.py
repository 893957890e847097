"""The wheel holds every file that the packages need besides their modules."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("data", "model", "search")
NOT_IN_THE_WHEEL = ("*.py", "*.pyc", "README.md")


def test_package_data_names_every_file_besides_modules():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    others = [path for path in files if not any(fnmatch(path.name, pattern) for pattern in NOT_IN_THE_WHEEL)]
    missing = []
    for path in others:
        package = ".".join(path.parent.relative_to(ROOT).parts)
        if not any(fnmatch(path.name, pattern) for pattern in patterns.get(package, ())):
            missing.append(str(path.relative_to(ROOT)))
    assert missing == []
    assert {path.parent.name for path in others if path.name == "py.typed"} == set(PACKAGES)
