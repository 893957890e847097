"""Which volumes of a tree are a case, its channels and its segmentation: by their names alone, no file is opened."""
