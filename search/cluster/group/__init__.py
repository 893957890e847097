"""A lane and its worker group: they train one trial after the other."""
