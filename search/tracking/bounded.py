"""A limit to what W&B may take: of all that its client may wait for, only some has a limit that can be set."""

import threading
from collections.abc import Callable

NO_ANSWER = "W&B did not answer in time"


def bounded(work: Callable[[], None], *, seconds: float, name: str) -> str | None:
    """Return in a sentence why the work could not be done in so many seconds; None where it was.

    Nothing is raised. Work that takes longer goes on in its thread for as long as the program lives.
    """
    problems = [NO_ANSWER]

    def run() -> None:
        try:
            work()
        except Exception as error:  # W&B's own, its transport's, its service process's, a full disk
            problems.append(" ".join(str(error).split()) or repr(error))
        else:
            problems.clear()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    return problems[-1] if problems else None
