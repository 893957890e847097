"""Everything about a network: what it is, how it is trained and scored, and the model that is made of it."""

import os

# OpenMP threads that wait for each other spin for milliseconds before they release their core, which makes training
# three times as slow when another process needs it (tests/benchmarks/LOG.md). Read once, when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
