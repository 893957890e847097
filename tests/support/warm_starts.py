"""A sample of the core space, and what a search refuses to start from."""

import pytest

from data.errors import UserError
from search.config import SearchConfig
from search.warm_start import gather

SAMPLE = {"learning_rate": 0.002, "depth": 4, "dropout": 0.25, "bce_weight": 0.5}


def refusal(config: SearchConfig) -> str:
    """Return the message with which a search refuses what it is to start from."""
    with pytest.raises(UserError, match=r".") as caught:
        gather(config)
    return str(caught.value)
