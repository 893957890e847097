"""What the patients are: readers, split, one packed array, augmentation, loaders. Imports no torch and no Ray."""
