"""Which Ray a command uses."""

import pytest

from search.cluster.start.choice import names_cluster


@pytest.mark.parametrize(
    ("address", "expected"),
    [(None, False), ("", False), ("local", False), ("auto", True), ("10.0.0.7:6379", True)],
)
def test_a_cluster_is_named_by_everything_but_local(address, expected):
    assert names_cluster({} if address is None else {"RAY_ADDRESS": address}) == expected
