"""`python -m search.doctor`: say what the program finds on this machine, and what to do about what is wrong."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module

from data.command import run_command
from search.doctor.checks.finding import Finding, Level
from search.doctor.checks.packages import INSTALL
from search.doctor.sections import SECTIONS, Request, run

NEEDED = ("tyro", "rich")
"""The packages without which the doctor itself can say no more than that they are missing."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Say what the program finds on this machine, and what to do about what is wrong. Each line is `ok`; or `warn`: a
    search works, but not as well as it could; or `fail`: a search would fail. At the end a tiny search is run.

    Nothing secret is printed, but paths and versions are: look through the text before you publish it. The exit status
    is 1 if a line is `fail`, and 0 otherwise.
    """

    out: str = "runs"
    """Folder of all experiments, or a bucket, as you would give it to a search."""

    quick: bool = False
    """Leave out the tiny search, which takes about a minute."""

    online: bool = False
    """Also ask the server of Weights & Biases whether it takes the key. Otherwise nothing leaves the machine."""

    json: bool = False
    """Print one JSON object, for programs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was found; return 0, or 1 if a search would fail."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> int:
    if missing := [name for name in NEEDED if _is_missing(name)]:
        print(f"fail  {', '.join(missing)} cannot be imported by {sys.executable}\n      -> {INSTALL}")
        return 1
    from data.arguments import parse_arguments
    from search.cluster.signals import sigterm_as_interrupt

    arguments = parse_arguments(Arguments, argv, prog="python -m search.doctor")
    request = Request(
        is_quick=arguments.quick, is_online=arguments.online, out=arguments.out, environment=dict(os.environ)
    )
    with sigterm_as_interrupt():  # so that the tiny search ends too
        found = _collect(request) if arguments.json else _show(request)
    return int(any(finding.level is Level.FAIL for findings in found.values() for finding in findings))


def _collect(request: Request) -> dict[str, list[Finding]]:
    """Print the findings as JSON, and return them by section."""
    from search.doctor.display import to_json

    found = {
        title: [finding for check in section.checks for finding in run(check, request)]
        for title, section in SECTIONS.items()
    }
    print(to_json(found))
    return found


def _show(request: Request) -> dict[str, list[Finding]]:
    """Print each finding as soon as it is known, and return them by section."""
    from search.console import open_console
    from search.doctor.display import print_finding, print_section, print_summary

    console, found = open_console(), {title: list[Finding]() for title in SECTIONS}
    for title, section in SECTIONS.items():
        print_section(title, console)
        for check in section.checks:
            with console.status(section.doing):  # it shows nothing where the output is no terminal
                for finding in run(check, request):
                    print_finding(finding, console)
                    found[title].append(finding)
    print_summary(
        [finding for findings in found.values() for finding in findings], console, is_proven=not request.is_quick
    )
    return found


def _is_missing(package: str) -> bool:
    try:
        import_module(package)
    except ImportError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
