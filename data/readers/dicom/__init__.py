"""Trees of DICOM files: which files are a series, what the series are, and how they become slices and masks."""
