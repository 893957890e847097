"""The words of errors."""

import pytest

from data.errors import MAX_LINE, did_you_mean, first_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("no space\n  at /x"), "no space"),
        ("\n a line \nanother", "a line"),
        (ValueError(""), ""),
        ("x" * MAX_LINE, "x" * MAX_LINE),
        ("x" * 400, "x" * MAX_LINE + "..."),
    ],
)
def test_first_line_is_short(error, expected):
    assert first_line(error) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Learning_rat", " (did you mean learning_rate?)"),
        ("smp:unet", " (did you mean smp:Unet?)"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_did_you_mean_names_what_is_most_alike(name, expected):
    assert did_you_mean(name, ("learning_rate", "depth", "smp:Unet")) == expected
