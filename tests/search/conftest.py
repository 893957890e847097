"""What the tests of the search share."""

import pytest

from tests.support.delivered import Delivered, deliver


@pytest.fixture(scope="session")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """An experiment that was promoted; to be looked at only."""
    return deliver(tmp_path_factory.mktemp("delivered"))
