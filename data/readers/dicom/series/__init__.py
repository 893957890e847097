"""The series of a tree: which files are one, what it is and whose, by the headers alone; and then their pixels."""
