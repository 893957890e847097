"""Mistakes of the user, told apart from faults of the program."""


class UserError(ValueError):
    """Something that the person who ran the program caused and can mend.

    Raised where input enters: the command line, a config, files, data, the address of a cluster. The message names the
    thing, the value found, what is legal, and what to do. A command prints it as one line and exits with status 2
    (data/command.py). Every other exception is a fault of the program and keeps its traceback.

    It is a ValueError, so that code which builds a config from Python can catch what Python programmers expect.
    """
