"""The networks by name, of three origins, behind one door: `build` makes a network from its configuration.

`registry.py` lists them; `monai.py` and `smp.py` hold those of two packages, which are imported when such a network is
built and not before; `own.py` takes anybody's function.
"""

from model.networks.architecture import Architecture
from model.networks.own import is_own
from model.networks.registry import (
    DEFAULT_ARCHITECTURE,
    NETWORKS,
    build,
    find_architecture,
    read_config,
    start_weights,
)

__all__ = [
    "DEFAULT_ARCHITECTURE",
    "NETWORKS",
    "Architecture",
    "build",
    "find_architecture",
    "is_own",
    "read_config",
    "start_weights",
]
