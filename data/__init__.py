"""Patients as data: readers, the split, the packed array, augmentation, loaders. Imports neither torch nor Ray."""
