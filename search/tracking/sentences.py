"""What W&B's errors say, for a person."""

import re


def in_a_line(problem: BaseException) -> str:
    """Return what an error says in one line, without the requests that W&B's client repeats in it."""
    said = " ".join(str(problem).split()) or f"W&B's client ended: {problem!r}"
    said = re.sub(r"POST \S+ giving up after \d+ attempt\(s\):? (?:while retrying: )?", "", said)
    return re.sub(r'Post "\S+": ', "", said).partition(" while retrying: ")[0]
