"""The processes on this machine, read from /proc."""

from contextlib import suppress
from pathlib import Path


def command_lines() -> dict[int, str]:
    """Return the command lines of all processes, by process id."""
    commands = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended since
            commands[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return commands


def descendants(pid: int) -> dict[int, str]:
    """Return the command lines of all descendants of a process, by process id."""
    commands, parents = command_lines(), {}
    for process in commands:
        with suppress(OSError, IndexError):
            parents[process] = int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    below = {pid}
    for _ in range(6):  # the tree of driver, raylet and workers is no deeper than this
        below |= {child for child, parent in parents.items() if parent in below}
    return {child: commands.get(child, "") for child in below - {pid}}


def with_variable(setting: str) -> set[str]:
    """Return the command lines of the processes that were started with an environment variable, as NAME=VALUE."""
    found, commands = set(), command_lines()
    for pid, command in commands.items():
        with suppress(OSError):  # it has ended since, or is someone else's
            if setting.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(command[:100])
    return found
