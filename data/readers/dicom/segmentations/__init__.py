"""The segmentations of DICOM, as segments (SEG) or outlines (RTSTRUCT): which is the tumour, and where it lies."""
