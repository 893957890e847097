"""`python -m model.serve MODEL`: a model as a small HTTP service."""
