"""Trees of volumes: which files are a case, how their names are read, and how formats become slices."""
