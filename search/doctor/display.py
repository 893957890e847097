"""Show findings: for people as they are known, or for programs as one JSON object at the end."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from data.printable import printable
from search.doctor.checks.finding import Finding, Level

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}

LEVEL_WIDTH, NAME_WIDTH = 4, 24


def print_section(title: str, console: Console) -> None:
    """Print the title of a section."""
    console.print()
    console.print(Text(title, style="bold"))


def print_finding(finding: Finding, console: Console) -> None:
    """Print a finding in a line, and its remedy below it."""
    style = STYLES[finding.level]
    _print_row(Text(finding.level, style=style), Text(printable(finding.name)), Text(_line(finding.value)), console)
    if finding.remedy:
        _print_row(Text(), Text(), Text(f"-> {_line(finding.remedy)}", style=style), console)


def print_summary(findings: Sequence[Finding], console: Console, *, is_proven: bool) -> None:
    """Print what all findings together mean.

    Args:
        is_proven: Whether a search was run.
    """
    works = "a search works here" if is_proven else "nothing that was looked at keeps a search from working"
    red = [finding.name for finding in findings if finding.level is Level.FAIL]
    yellow = [finding.name for finding in findings if finding.level is Level.WARN]
    console.print()
    if red:
        text = f"A search would fail here, because of {_count(red, 'red line')}: {', '.join(red)}."
        console.print(Text(text, style=STYLES[Level.FAIL]))
    elif yellow:
        text = f"{works.capitalize()}. {_count(yellow, 'yellow line')} could be better: {', '.join(yellow)}."
        console.print(Text(text, style=STYLES[Level.WARN]))
    else:
        console.print(Text(f"All is well: {works}.", style=STYLES[Level.OK]))


def to_json(sections: Mapping[str, Sequence[Finding]]) -> str:
    """Return the findings as a JSON object: the worst level, and a list of sections with theirs."""
    levels = [finding.level for findings in sections.values() for finding in findings]
    rows = [{"section": title} | asdict(finding) for title, findings in sections.items() for finding in findings]
    return json.dumps({"level": max(levels, key=[*Level].index, default=Level.OK), "findings": rows}, indent=2)


def _print_row(level: Text, name: Text, text: Text, console: Console) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=LEVEL_WIDTH, no_wrap=True)
    table.add_column(width=NAME_WIDTH, overflow="fold")
    table.add_column(overflow="fold")
    table.add_row(level, name, text)
    console.print(table)


def _line(text: str) -> str:
    return printable(text.replace("\n", " "))


def _count(names: Sequence[str], what: str) -> str:
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''}"
