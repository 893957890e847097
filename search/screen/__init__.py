"""What a person sees of a running search: a live table in a terminal, else lines."""
