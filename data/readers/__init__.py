"""Readers of data sets: one module for each layout of files, and the code that they share."""
