"""Which Ray a command uses: that of a cluster, or one that it starts on this machine."""

import os
from collections.abc import Mapping


def names_cluster(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether RAY_ADDRESS names a cluster; if not, Ray is started on this machine."""
    return environment.get("RAY_ADDRESS") not in (None, "", "local")
