"""A budget: what a person wants to spend on a search, as the text of `--budget`."""

import re
from dataclasses import dataclass

from data.errors import UserError

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Seconds of each unit of time."""

LEGAL = 'a time such as 90s, 30m, 8h or 2d, or a number of epochs such as "500 epochs"'

FORM = re.compile(r"(?P<number>\d{1,9}(\.\d{1,9})?) ?(?P<unit>s|m|h|d|epochs?)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a search may spend in all: wall clock, or epochs of training. One of the two is None."""

    text: str
    seconds: float | None = None
    """From the start of the command to its end, with promotion."""

    epochs: int | None = None
    """Of all trials and of the trainings after the search together."""

    @property
    def amount(self) -> float:
        """Seconds, or epochs."""
        amount = self.seconds or self.epochs
        assert amount, "a budget is one of the two, and not zero"
        return float(amount)


def parse_budget(text: str) -> Budget:
    """Return the budget that a text such as `30m` or `500 epochs` describes.

    Raises:
        UserError: It is neither a time nor a number of epochs, or it is zero.
    """
    match = FORM.fullmatch(text.strip())
    number = float(match["number"]) if match else 0.0
    if not match or number <= 0:
        raise UserError(f"budget is {text!r}, but must be {LEGAL}")
    if match["unit"] in SECONDS:
        return Budget(text=text, seconds=number * SECONDS[match["unit"]])
    if number != int(number):
        raise UserError(f"budget is {text!r}, but must be a whole number of epochs")
    return Budget(text=text, epochs=int(number))


def check_budget(text: str | None, *, begin_with_default: bool) -> None:
    """Raise UserError if a budget is not legal, or if the search does not begin with what it is planned around."""
    if text is None:
        return
    parse_budget(text)
    if not begin_with_default:
        raise UserError(
            f"budget is {text!r}, which is planned around a trial of the default configuration: do not turn "
            "begin_with_default off"
        )
