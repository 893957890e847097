"""The text of `--budget`."""

import pytest

from data.errors import UserError
from search.planning.budget import Budget, parse_budget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("8h", 28_800), ("2d", 172_800), ("1.5h", 5400), ("7 d", 604_800), (" 30m ", 1800)],
)
def test_budget_of_time_is_read_in_seconds(text, seconds):
    assert parse_budget(text) == Budget(text=text, seconds=seconds)


@pytest.mark.parametrize(("text", "epochs"), [("500 epochs", 500), ("500epochs", 500), ("1 epoch", 1)])
def test_budget_of_epochs_has_no_clock(text, epochs):
    assert parse_budget(text) == Budget(text=text, epochs=epochs)


@pytest.mark.parametrize(
    "text", ["", "30", "m", "30 minutes", "-5m", "0s", "0 epochs", "1h30m", "nan h", "1e9d", "\u0663m"]
)
def test_budget_that_is_no_amount_is_refused_with_the_legal_forms(text):
    with pytest.raises(UserError) as refused:
        parse_budget(text)
    assert str(refused.value) == (
        f'budget is {text!r}, but must be a time such as 90s, 30m, 8h or 2d, or a number of epochs such as "500 epochs"'
    )


def test_budget_of_half_an_epoch_is_refused():
    with pytest.raises(UserError, match=r"^budget is '0\.5 epochs', but must be a whole number of epochs$"):
        parse_budget("0.5 epochs")
