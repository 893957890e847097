"""Format numbers for people, in the same way on the terminal, in the report, in the model card and in a comparison."""

import math

DASH = "-"
"""Shown in place of a value that is undefined or unknown."""


def format_duration(seconds: float) -> str:
    """Return a duration such as `42 s`, `7 min 05 s` or `3 h 07 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_score(value: float | None) -> str:
    """Return a score with four decimals, or a dash where it is undefined."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.4f}"


def format_value(value: object) -> str:
    """Return any value as text: a float with four significant digits, a bool as yes or no, a dash if undefined."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else DASH
    return str(value)
