"""A function in a process of its own: what it returns, and what is said if it cannot."""

import os
import time

import pytest

from data.errors import UserError
from search.doctor.facts.probe import NoAnswer, ask


def answer(number):
    print("this is no answer")
    return {"number": number}


def crash():
    os.abort()


def hang():
    time.sleep(60)


def leave():
    os._exit(3)


def import_missing():
    import a_package_that_is_missing.part  # pyright: ignore[reportMissingImports] # noqa: F401


def break_down():
    raise OSError("libgomp.so.1: cannot open\nshared object file")


def refuse():
    raise UserError("RAY_ADDRESS is wrong")


def ask_here(function, *arguments, seconds=20.0):
    return ask(__name__, function, *arguments, seconds=seconds)


def test_answer_is_what_the_function_returns_not_what_it_prints():
    assert ask_here("answer", 7) == {"number": 7}


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("crash", "it crashed: signal SIGABRT"),
        ("leave", "it crashed: exit status 3"),
        ("import_missing", "a_package_that_is_missing is not installed"),
        ("break_down", "OSError: libgomp.so.1: cannot open shared object file"),
        ("refuse", "RAY_ADDRESS is wrong"),
    ],
)
def test_failure_is_told_in_a_line(function, text):
    with pytest.raises(NoAnswer) as raised:
        ask_here(function)
    assert str(raised.value).startswith(text)
    assert raised.value.missing == ("a_package_that_is_missing" if function == "import_missing" else "")


def test_function_that_hangs_is_ended():
    begun = time.monotonic()
    with pytest.raises(NoAnswer, match="no answer within 1 s"):
        ask_here("hang", seconds=1.0)
    assert time.monotonic() - begun < 20
