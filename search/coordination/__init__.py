"""Which trial is trained next and what becomes of each, without Ray."""
