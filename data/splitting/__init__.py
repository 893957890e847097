"""The split into training, validation and test patients: by person, balanced, or as a file says."""
