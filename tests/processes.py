"""What runs on this machine, read from /proc."""

from pathlib import Path


def processes_below(pid: int) -> dict[int, str]:
    """Return the command lines of all descendants of a process, by process id."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            commands[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, IndexError):  # it ended in between
            continue
    below = {pid}
    for _ in range(6):  # driver, raylet, worker: no deeper than this
        below |= {child for child, parent in parents.items() if parent in below}
    return {child: commands.get(child, "") for child in below - {pid}}
