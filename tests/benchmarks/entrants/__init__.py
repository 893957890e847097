"""What `tests/benchmarks/quality.py` compares: this program, its default configuration, and three other programs."""
