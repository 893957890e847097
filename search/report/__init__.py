"""The report: what a search did and found, as one HTML file that opens offline."""
