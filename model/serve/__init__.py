"""Serve a model over HTTP: `python -m model.serve MODEL`."""
