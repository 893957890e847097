"""Whole tiny searches under the circumstances of real machines: containers, clusters, laptops under load."""
