"""Networks, their training and scoring, and the exported models that are made from them."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

# There may be a data.py in the working directory (see search/__init__.py).
_ROOT = Path(__file__).parents[1]
if (_spec := find_spec("data")) and _spec.origin and Path(_spec.origin).parents[1] != _ROOT:
    sys.path.insert(0, str(_ROOT))

from data.machine.user import provide_user  # noqa: E402

provide_user()

# OpenMP threads that wait for each other spin for milliseconds before they release their core, which makes training
# three times as slow when another process needs the core (tests/benchmarks/LOG.md). The variable is read only once,
# when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
