"""Random changes of training slices: moves and bends, and changes of grey levels."""
