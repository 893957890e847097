"""What a check found: a value, whether a search works with it, and what to do if not."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """Whether a search works with what was found."""

    OK = "ok"
    WARN = "warn"
    """It works, but more slowly, not for long, or without something that this machine has."""

    FAIL = "fail"
    """It would fail."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of what was found."""

    name: str
    level: Level
    value: str
    remedy: str = ""
    """What to do about it; empty if all is well."""

    def __post_init__(self) -> None:
        assert bool(self.remedy) == (self.level is not Level.OK), f"{self.name} has a remedy, or none, without need"


def ok(name: str, value: str) -> Finding:
    """Return a finding with which a search works."""
    return Finding(level=Level.OK, name=name, value=value)


def warn(name: str, value: str, remedy: str) -> Finding:
    """Return a finding with which a search works less well than it could."""
    return Finding(level=Level.WARN, name=name, value=value, remedy=remedy)


def fail(name: str, value: str, remedy: str) -> Finding:
    """Return a finding with which a search would fail."""
    return Finding(level=Level.FAIL, name=name, value=value, remedy=remedy)


def format_bytes(number: float) -> str:
    """Return a size such as `23.5 GB` or `64 MB`."""
    if number >= 1e9:
        return f"{number / 1e9:.1f} GB"
    return f"{number / 1e6:.0f} MB"
