"""That W&B cannot be used, noted in the experiment's folder: one lane finds out, all know, a person is told once."""

from pathlib import Path

OUTAGE_FILE = "wandb-outage.txt"


def note_outage(folder: Path, sentence: str) -> None:
    """Write down that W&B cannot be used and what is done instead; the first who finds out says it."""
    try:
        with (folder / OUTAGE_FILE).open("x") as file:
            file.write(sentence)
    except FileExistsError:
        return


def noted_outage(folder: Path) -> str | None:
    """Return what was noted; None where W&B can be used as far as anybody knows."""
    try:
        return (folder / OUTAGE_FILE).read_text()
    except FileNotFoundError:
        return None


def forget_outage(folder: Path) -> None:
    """Forget an outage: a search that goes on tries again."""
    (folder / OUTAGE_FILE).unlink(missing_ok=True)
