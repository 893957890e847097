"""Promotion: choosing the best trial after a search, and making a model of it in `best/`."""
