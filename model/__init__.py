"""What a network learns: the U-Net, its loss, its training loop, its metrics, and the model that comes out."""

import os

# Threads of OpenMP that wait for each other burn a core for milliseconds before they let it go, which makes training
# three times as long where somebody else computes too (tests/benchmarks/LOG.md). Read once, when torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
