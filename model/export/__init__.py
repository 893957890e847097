"""Export a trained network to files that others can run."""
