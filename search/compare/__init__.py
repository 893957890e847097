"""Comparison of experiments, on the terminal and as one HTML file."""
