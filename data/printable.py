"""Text that is safe to show: names of files may hold anything, but a terminal must not obey them."""


def printable(text: str) -> str:
    """Return the text with control characters, and characters that no encoding has, replaced; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
