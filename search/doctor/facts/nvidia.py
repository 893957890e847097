"""The NVIDIA GPUs of this machine and their driver, as the system sees them, whether or not torch can use them."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from search.cluster.capacity.control_groups import is_container, read
from search.doctor.facts.probe import in_a_line

PCI = Path("/sys/bus/pci/devices")
NVIDIA, AMD = "0x10de", "0x1002"
DISPLAY_CLASS = "0x03"
"""How the class of a graphics card or of another processor of images begins."""

QUERY = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")

SMI_SECONDS = 30.0
"""How long nvidia-smi may take: seconds on a machine with many GPUs."""


@dataclass(frozen=True, kw_only=True)
class Nvidia:
    """NVIDIA's GPUs."""

    count: int
    names: tuple[str, ...] = ()
    driver: str = ""
    """The version; "" if no driver answers."""

    problem: str = ""
    """Why no driver answers."""

    remedy: str = ""
    has_other: bool = False
    """Whether there is a GPU of another maker."""


def find_nvidia(pci: Path = PCI) -> Nvidia:
    """Return the GPUs of NVIDIA, by its driver, else by the machine's bus."""
    cards = _cards(pci)
    count, has_other = cards.count(NVIDIA), AMD in cards or sys.platform == "darwin"
    if shutil.which(QUERY[0]) is None:
        remedy = (
            "start the container with the GPUs (docker run --gpus all, after NVIDIA's container toolkit is installed)"
            if is_container()
            else "install NVIDIA's driver, which brings nvidia-smi"
        )
        return Nvidia(count=count, problem="no driver is installed", remedy=remedy, has_other=has_other)
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=SMI_SECONDS)
        status, text = done.returncode, done.stdout.strip() or done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        status, text = 1, str(error)
    return read_answer(status, text, count=count, has_other=has_other)


def read_answer(status: int, text: str, *, count: int, has_other: bool = False) -> Nvidia:
    """Return the GPUs that nvidia-smi has listed, or why it has not.

    Args:
        status: The exit status of nvidia-smi.
        text: What it has printed.
        count: The GPUs on the machine's bus.
        has_other: See Nvidia.
    """
    if status == 0 and text:
        rows = [line.rpartition(",") for line in text.splitlines()]
        names = tuple(name.strip() for name, _, _ in rows)
        return Nvidia(count=len(rows), names=names, driver=rows[0][2].strip(), has_other=has_other)
    mismatch = "mismatch" in text
    remedy = (
        "restart the machine: the driver was updated, and its old part still runs"
        if mismatch
        else "install NVIDIA's driver again, or restart the machine if it was just updated, until `nvidia-smi` works"
    )
    problem = f"nvidia-smi says: {in_a_line(text) or 'nothing'}"
    return Nvidia(count=max(count, int(mismatch)), problem=problem, remedy=remedy, has_other=has_other)


def _cards(pci: Path) -> list[str]:
    """Return the maker's number of each graphics card."""
    if not pci.is_dir():
        return []
    devices = [device for device in pci.iterdir() if read(device / "class").startswith(DISPLAY_CLASS)]
    return [read(device / "vendor").strip() for device in devices]
