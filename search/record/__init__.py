"""The record of a search: its files, and the one reader and writer of each."""
