"""Run a network on whole volumes: from slices to probabilities and masks."""
