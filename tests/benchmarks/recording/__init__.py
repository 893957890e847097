"""What `tests/benchmarks/record_curves.py` records, and on which patients."""
