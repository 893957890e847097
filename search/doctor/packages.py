"""Python, this program, and the packages that it needs: which are there, and whether their versions were tested."""

import platform
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from search.doctor.finding import Finding, fail, ok, warn
from search.doctor.probe import ROOT, NoAnswer, ask
from search.record.provenance import commit

PROGRAM = "tumour-search"

INSTALL = (
    f"in the clone of the repository, run {sys.executable} -m pip install -e '.[search]', or activate the environment "
    "in which that was done"
)

REINSTALL = f"{sys.executable} -m pip install --force-reinstall --no-deps"

LOAD_SECONDS = 180.0
"""How long the packages of a search may take to load: seconds, or minutes from a network folder on a busy machine."""

SHOWN = (
    "torch", "ray", "optuna", "wandb", "albumentations", "numpy", "onnxruntime", "openvino", "monai",
    "segmentation-models-pytorch",
)  # fmt: skip
"""Packages whose versions say most about a result."""

USES = {
    "infer": "model.predict with an exported model",
    "fast": "prediction twice as fast on processors with bfloat16",
    "serve": "model.serve",
    "volumes": "data in DICOM, MetaImage or NRRD",
    "download": "data.download",
    "dashboard": "optuna-dashboard",
    "monai": "--network monai:...",
    "smp": "--network smp:...",
}
"""What needs each of the optional dependencies that a search does without."""


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A package that an extra needs."""

    extra: str
    """As in pip install -e '.[EXTRA]'; "" for what is always needed."""

    name: str
    legal: str
    """Its versions, such as ">=5.0,<6"."""


def check_python() -> list[Finding]:
    """Return the versions of Python, the system and this program."""
    name, value = "Python", f"{platform.python_version()} at {sys.executable}"
    asked = _project().get("requires-python", "")
    if asked and not _is_within(platform.python_version(), asked):
        found = [fail(name, value, f"it must be {asked}: make the environment with a newer Python")]
    else:
        found = [ok(name, value)]
    found.append(ok("system", platform.platform()))
    where = f"commit {known}" if (known := commit()) else "no commit is known"
    return [
        *found,
        ok("program", f"{_project().get('version') or installed_version(PROGRAM) or '?'}, {where}, in {ROOT}"),
    ]


def installed_version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_versions(find: Callable[[str], str | None] = installed_version) -> list[Finding]:
    """Return the versions of the packages, and which are missing or not those that were tested.

    Args:
        find: Returns the version of a package, or None if it is not installed.
    """
    asked = requirements()
    needed = [one for one in asked if one.extra in ("", "search", "infer")]
    missing = [one.name for one in needed if find(one.name) is None]
    found = [ok("versions", ", ".join(f"{name} {known}" for name in SHOWN if (known := find(name))) or "none")]
    if missing:
        found.append(fail("packages of a search", f"not installed: {', '.join(missing)}", INSTALL))
    else:
        found.append(ok("packages of a search", f"all {len(needed)} are installed"))
    for one in asked:
        known = find(one.name)
        if known is not None and one.extra in ("", "search", *USES) and not _is_within(known, one.legal):
            remedy = f"the tests have not passed with it: {sys.executable} -m pip install '{one.name}{one.legal}'"
            found.append(warn(one.name, f"{known}, but {one.legal} is asked for", remedy))
    return [*found, *_extras(asked, find)]


def check_loading() -> list[Finding]:
    """Return whether the program can be loaded with all packages of a search, which finds what is broken."""
    name = "loading"
    try:
        seconds = ask(__name__, "load_search", seconds=LOAD_SECONDS)
    except NoAnswer as error:
        broken = f"the package that the line names is broken; install it again: {REINSTALL} PACKAGE"
        return [fail(name, str(error), INSTALL if error.missing else broken)]
    return [ok(name, f"the search and its packages load in {seconds:.0f} s")]


def load_search() -> float:
    """Load all that a search needs, and return the seconds that it took. It is meant for a process of its own."""
    import time
    from importlib import import_module

    begun = time.monotonic()
    for module in ("search.tune", "search.report.page", "search.tracking.wandb_tracker", "model.export"):
        import_module(module)
    return time.monotonic() - begun


def requirements() -> list[Requirement]:
    """Return what each extra needs: of the checkout that runs, else of the installed program."""
    if project := _project():
        groups: Mapping[str, list[str]] = {"": project["dependencies"], **project["optional-dependencies"]}
        return [_read(text, extra) for extra, texts in groups.items() for text in texts if not text.startswith(PROGRAM)]
    try:
        lines = [line.partition(";") for line in requires(PROGRAM) or ()]
    except PackageNotFoundError:
        return []
    found = [_read(text, extra.partition("extra == ")[2].strip(" \"'")) for text, _, extra in lines]
    return [one for one in found if one.name != PROGRAM]


def _project() -> Mapping:
    """Return the table [project] of pyproject.toml; empty in an installed copy, which has no such file."""
    try:
        table = tomllib.loads((Path(ROOT) / "pyproject.toml").read_text())["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return {}
    return table if table.get("name") == PROGRAM else {}


def _read(text: str, extra: str) -> Requirement:
    """Return the requirement of a text such as "ray[default]>=2.60,<2.61"."""
    end = next((place for place, sign in enumerate(text) if sign in "<>=!~ "), len(text))
    return Requirement(extra=extra, name=text[:end].partition("[")[0], legal=text[end:].strip())


def _is_within(found: str, legal: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(legal).contains(found, prereleases=True)


def _extras(asked: list[Requirement], find: Callable[[str], str | None]) -> list[Finding]:
    """Return which extras are there, and for each other one what would need it; a search does without."""
    lacking = {extra: [one.name for one in asked if one.extra == extra and find(one.name) is None] for extra in USES}
    present = [extra for extra, missing in lacking.items() if not missing]
    found = [ok("extras", ", ".join(present))] if present else []
    for extra, missing in lacking.items():
        if missing and extra != "infer":
            install = f"{sys.executable} -m pip install -e '.[{extra}]'"
            found.append(ok(f"without {extra}", f"needed only for {USES[extra]}: {install}"))
    return found
