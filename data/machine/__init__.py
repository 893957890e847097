"""The machine that the program runs on: who its user is, where one may write, and what its disks refuse."""
