"""From a volume to probabilities and masks, with any network."""
