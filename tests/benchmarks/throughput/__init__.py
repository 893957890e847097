"""The pipelines whose training speed tests/benchmarks/training.py compares."""
