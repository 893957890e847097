"""Image files: one slice, or a stack of slices, decoded and checked; and what the values of a mask mean."""
