"""The options of promotion, and what is refused."""

import re

import pytest

from data.errors import UserError
from search.promotion.options import Promotion


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": 0}, "candidates is 0, but must be from 1 to 5"),
        ({"candidates": 6}, "candidates is 6, but must be from 1 to 5"),
        ({"final_seeds": -1}, "final_seeds is -1, but must be from 0 to 10"),
        ({"ensemble": 0}, "ensemble is 0, but must be from 1 to 10"),
        ({"ensemble": 11}, "ensemble is 11, but must be from 1 to 10"),
        ({"folds": -1}, "folds is -1, but must be from 0 to 100"),
        ({"folds": 1}, "folds is 1, but must be at least 2; give 0 for none"),
    ],
)
def test_promotion_refuses_options_out_of_range(changes, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        Promotion(**changes)
