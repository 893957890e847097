"""The packages that this program asks for, in which versions, and which of them are installed."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

from search.doctor.facts.probe import ROOT

PROGRAM = "tumour-search"


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A package that an extra needs."""

    extra: str
    """As in pip install -e '.[EXTRA]'; "" for what is always needed."""

    name: str
    legal: str
    """Its versions, such as ">=5.0,<6"."""


def installed_version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def requirements() -> list[Requirement]:
    """Return what each extra needs: of the checkout that runs, else of the installed program."""
    if project := project_table():
        groups: Mapping[str, list[str]] = {"": project["dependencies"], **project["optional-dependencies"]}
        return [_read(text, extra) for extra, texts in groups.items() for text in texts if not text.startswith(PROGRAM)]
    try:
        lines = [line.partition(";") for line in requires(PROGRAM) or ()]
    except PackageNotFoundError:
        return []
    found = [_read(text, extra.partition("extra == ")[2].strip(" \"'")) for text, _, extra in lines]
    return [one for one in found if one.name != PROGRAM]


def project_table() -> Mapping:
    """Return the table [project] of pyproject.toml; empty in an installed copy, which has no such file."""
    try:
        table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return {}
    return table if table.get("name") == PROGRAM else {}


def _read(text: str, extra: str) -> Requirement:
    """Return the requirement of a text such as "ray[default]>=2.60,<2.61"."""
    end = next((place for place, sign in enumerate(text) if sign in "<>=!~ "), len(text))
    return Requirement(extra=extra, name=text[:end].partition("[")[0], legal=text[end:].strip())
