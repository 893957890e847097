"""Trees of slices: images with their masks and patients, found by the names of files and folders alone."""
