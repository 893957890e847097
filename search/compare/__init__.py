"""`python -m search.compare NAME NAME...`: experiments side by side, on the terminal and as one HTML file."""
