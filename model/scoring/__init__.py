"""How good a network is: metrics from counts of pixels, scores per patient, and the full assessment of a model."""
