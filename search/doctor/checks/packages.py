"""Python, this program, and the packages that it needs: which are there, and whether their versions were tested."""

import platform
import sys
from collections.abc import Callable, Iterator, Sequence

from search.doctor.checks.finding import Finding, fail, ok, warn
from search.doctor.facts.probe import ROOT, NoAnswer, ask
from search.doctor.facts.requirements import PROGRAM, Requirement, installed_version, project_table, requirements
from search.record.provenance import commit

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
"""The use of each optional dependency that a search does without."""


def check_python() -> Iterator[Finding]:
    """Yield the versions of Python, the system and this program."""
    project, version = project_table(), platform.python_version()
    value, legal = f"{version} at {sys.executable}", project.get("requires-python", "")
    if legal and not _is_within(version, legal):
        yield fail("Python", value, f"it must be {legal}: make the environment with a newer Python")
    else:
        yield ok("Python", value)
    yield ok("system", platform.platform())
    where = f"commit {known}" if (known := commit()) else "no commit is known"
    yield ok("program", f"{project.get('version') or installed_version(PROGRAM) or '?'}, {where}, in {ROOT}")


def check_versions(find: Callable[[str], str | None] = installed_version) -> Iterator[Finding]:
    """Yield the versions of the packages, and which are missing or not those that were tested.

    Args:
        find: Returns the version of a package, or None if it is not installed.
    """
    yield ok("versions", ", ".join(f"{name} {known}" for name in SHOWN if (known := find(name))) or "none")
    asked = requirements()
    needed = [one.name for one in asked if one.extra in ("", "search", "infer")]
    if missing := [name for name in needed if find(name) is None]:
        yield fail("packages of a search", f"not installed: {', '.join(missing)}", INSTALL)
    else:
        yield ok("packages of a search", f"all {len(needed)} are installed")
    for one in asked:
        known = find(one.name)
        if known is not None and one.extra in ("", "search", *USES) and not _is_within(known, one.legal):
            remedy = f"the tests have not passed with it: {sys.executable} -m pip install '{one.name}{one.legal}'"
            yield warn(one.name, f"{known}, but {one.legal} is asked for", remedy)
    yield from _extras(asked, find)


def check_loading() -> Finding:
    """Return whether the program can be loaded with all packages of a search, which finds what is broken."""
    name = "loading"
    try:
        seconds = ask(__name__, "load_search", seconds=LOAD_SECONDS)
    except NoAnswer as error:
        broken = f"the package that the line names is broken; install it again: {REINSTALL} PACKAGE"
        return fail(name, str(error), INSTALL if error.missing else broken)
    return ok(name, f"the search and its packages load in {seconds:.0f} s")


def load_search() -> float:
    """Load all that a search needs, and return the seconds that it took. It is meant for a process of its own."""
    import time
    from importlib import import_module

    begun = time.monotonic()
    for module in ("search.tune", "search.report.page", "search.tracking.wandb_tracker", "model.export"):
        import_module(module)
    return time.monotonic() - begun


def _is_within(found: str, legal: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(legal).contains(found, prereleases=True)


def _extras(asked: Sequence[Requirement], find: Callable[[str], str | None]) -> Iterator[Finding]:
    """Yield which extras are there, and for each other one what would need it; a search does without."""
    lacking = {extra for extra in USES for one in asked if one.extra == extra and find(one.name) is None}
    if present := [extra for extra in USES if extra not in lacking]:
        yield ok("extras", ", ".join(present))
    for extra in USES:
        if extra in lacking and extra != "infer":
            install = f"{sys.executable} -m pip install -e '.[{extra}]'"
            yield ok(f"without {extra}", f"needed only for {USES[extra]}: {install}")
