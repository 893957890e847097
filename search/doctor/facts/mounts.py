"""Which file system a folder is on, because sockets, locks and speed differ on those of a network."""

import os
import re
from pathlib import Path

from search.cluster.capacity.control_groups import read

MOUNTS = Path("/proc/self/mountinfo")

NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fhgfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "ocfs2", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs",
}  # fmt: skip
"""File systems of a network or of a host."""

BUCKETS = {
    "fuse.s3fs",
    "fuse.gcsfuse",
    "fuse.rclone",
    "fuse.goofys",
    "fuse.mount-s3",
    "fuse.blobfuse",
    "fuse.blobfuse2",
}
"""Buckets that are mounted as folders."""


def file_system_of(folder: Path, mounts: Path = MOUNTS) -> str:
    """Return the kind of file system that a folder is on, such as `ext4` or `nfs4`; "" if the system does not say.

    Reference: the Linux manual page proc_pid_mountinfo(5).
    """
    path, best, kind = os.path.realpath(folder), "", ""
    for line in read(mounts).splitlines():
        words, _, rest = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words.split()[4])  # \040 is a blank
        if len(point) >= len(best) and (path == point or path.startswith(point.rstrip("/") + "/")):
            best, kind = point, rest.split()[0]
    return kind


def is_network(kind: str) -> bool:
    """Return whether a kind of file system is that of a network."""
    return kind in NETWORK or kind in BUCKETS or kind.startswith("fuse.sshfs")
