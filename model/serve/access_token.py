"""The bearer token that clients of the service must send."""

import os
import re
from pathlib import Path

from model.serve.limits import ServeError

TOKEN_VARIABLE = "TUMOUR_SEARCH_TOKEN"

MIN_LENGTH = 16
"""Characters; as hexadecimal digits that is 64 bits, which nobody guesses over a network."""


def read_token(path: Path | None) -> str | None:
    """Return the bearer token in the file or, without a file, in the environment; None if there is neither.

    Raises:
        ServeError: The file cannot be read, or the token is too short or holds characters that a header cannot carry.
            The message does not show the token.
    """
    try:
        text = os.environ.get(TOKEN_VARIABLE) if path is None else path.read_text()
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        raise ServeError(f"token file {path} cannot be read ({error.strerror or error}); check --token-file") from error
    if text is None:
        return None
    if not re.fullmatch(rf"[A-Za-z0-9._~+/-]{{{MIN_LENGTH},}}=*", text.strip()):
        raise ServeError(
            f"the token in {path or TOKEN_VARIABLE} is not legal: it must be at least {MIN_LENGTH} letters, digits or "
            "any of . _ ~ + / -, such as `openssl rand -hex 32` prints"
        )
    return text.strip()
