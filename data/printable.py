"""Make text safe to print: a file name may hold control characters, which a terminal would obey."""


def printable(text: str) -> str:
    """Return the text with control characters and characters that cannot be encoded replaced; line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
