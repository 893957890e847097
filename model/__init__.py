"""Networks, their training and scoring, and the exported models that are made from them."""

import os

from data.machine.user import provide_user

provide_user()

# OpenMP threads that wait for each other spin for milliseconds before they release their core, which makes training
# three times as slow when another process needs the core (tests/benchmarks/LOG.md). The variable is read only once,
# when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
