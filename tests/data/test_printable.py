"""Names of files must not reach the terminal as they are."""

from data.printable import printable


def test_printable_leaves_a_terminal_nothing_to_obey():
    assert printable("Ö\x1b[31m\udcff\n\u202e") == "Ö\ufffd[31m\ufffd\n\ufffd"
