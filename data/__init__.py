"""What the patients are: readers, the split, one packed array, augmentation, loaders. Imports no torch and no Ray."""
