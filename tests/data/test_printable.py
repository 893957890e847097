"""Names of files must not reach the terminal as they are."""

from data.printable import printable


def test_printable_replaces_control_characters():
    assert printable("Ö\x1b[31m\udcff\n\u202e") == "Ö\ufffd[31m\ufffd\n\ufffd"
