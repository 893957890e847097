"""The formats of volumes: how files become arrays on one grid, and how masks are written."""
