"""All checks, in the order in which they run: those that take no time come first, a whole search comes last."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from search.doctor.checks.cluster import check_ray
from search.doctor.checks.environment import check_variables
from search.doctor.checks.finding import Finding, ok, warn
from search.doctor.checks.folders import check_cache, check_home, check_out, check_temporary
from search.doctor.checks.memory import check_memory, check_shared_memory
from search.doctor.checks.packages import check_loading, check_python, check_versions
from search.doctor.checks.processor import check_cpus, check_instruction_sets, check_load
from search.doctor.checks.tiny_search import check_tiny_search
from search.doctor.checks.tracking import check_tracking
from search.doctor.checks.training import check_training
from search.doctor.facts.memory import find_memory
from search.doctor.facts.probe import in_a_line


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of the checks."""

    is_quick: bool
    is_online: bool
    out: str
    environment: Mapping[str, str]
    """The environment variables as they were at the start: OpenCV changes some when it is imported."""


Check = Callable[[Request], Finding | Iterable[Finding]]


@dataclass(frozen=True, kw_only=True)
class Section:
    """Checks that belong together."""

    checks: tuple[Check, ...]
    doing: str = "checking"
    """What a terminal shows while they run."""


SECTIONS = {
    "Processor": Section(
        checks=(
            lambda request: check_instruction_sets(),
            lambda request: check_cpus(request.environment),
            lambda request: check_load(),
        )
    ),
    "Memory": Section(
        checks=(
            lambda request: check_memory(find_memory()),
            lambda request: check_shared_memory(find_memory()),
        )
    ),
    "Folders": Section(
        checks=(
            lambda request: check_out(request.out),
            lambda request: check_cache(),
            lambda request: check_temporary(),
            lambda request: check_home(),
        )
    ),
    "Environment variables": Section(checks=(lambda request: check_variables(request.environment),)),
    "Versions": Section(
        checks=(
            lambda request: check_python(),
            lambda request: check_versions(),
        )
    ),
    "Weights & Biases": Section(
        checks=(lambda request: check_tracking(request.environment, is_online=request.is_online),)
    ),
    "GPUs and torch": Section(doing="loading torch", checks=(lambda request: check_training(request.environment),)),
    "Ray": Section(doing="looking for a cluster", checks=(lambda request: check_ray(request.environment),)),
    "The program": Section(doing="loading all packages", checks=(lambda request: check_loading(),)),
    "A tiny search": Section(doing="searching, for about a minute", checks=(lambda request: _check_search(request),)),
}
"""The checks by the section of the output that they are in."""


def run(check: Check, request: Request) -> Iterator[Finding]:
    """Yield what a check finds. A check that breaks is a finding too, and the others still run."""
    try:
        found = check(request)
        yield from [found] if isinstance(found, Finding) else found
    except Exception as error:
        remedy = "this is a fault of the doctor; please report it. The other lines are right all the same"
        yield warn("not checked", in_a_line(f"{type(error).__name__}: {error}"), remedy)


def _check_search(request: Request) -> Finding:
    if request.is_quick:
        return ok("search", "not run (--quick)")
    return check_tiny_search(request.out, request.environment)
