"""A note in the experiment's folder that W&B cannot be used, and how its runs are sent later.

The search tells the user once, and the promotion after it does not wait for the server again.
"""

from pathlib import Path

from search.storage.working_folder import format_command

OUTAGE_FILE = "wandb-outage.txt"


def note_outage(folder: Path, sentence: str) -> None:
    """Write down that W&B cannot be used, and what is done instead. The first note stays."""
    try:
        with (folder / OUTAGE_FILE).open("x") as file:
            file.write(sentence)
    except FileExistsError:
        return


def noted_outage(folder: Path) -> str | None:
    """Return the note; None if W&B can be used as far as is known."""
    try:
        return (folder / OUTAGE_FILE).read_text()
    except FileNotFoundError:
        return None


def forget_outage(folder: Path) -> None:
    """Remove the note: a search that is resumed tries again."""
    (folder / OUTAGE_FILE).unlink(missing_ok=True)


def how_to_send(folder: Path) -> str:
    """Return how offline runs reach a server later."""
    return f"to send its runs later: {format_command('search.sync', folder)}"
