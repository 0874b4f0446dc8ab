"""What kind of filesystem a path lies on: some are shared between machines, and databases must be careful there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

__all__ = ["NETWORK", "filesystem_of", "is_network"]

NETWORK = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.beegfs", "fuse.ceph", "fuse.glusterfs", "fuse.juicefs",
        "fuse.lustre", "fuse.rclone", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
        "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs",
    }
)  # fmt: skip

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")  # of space, tab, newline and backslash, as proc_pid_mountinfo(5) writes them


def filesystem_of(path: Path, mounts: Path = _MOUNTS) -> str:
    """The type, such as `ext4` or `nfs4`, of the mount that holds `path` (which need not exist); `` where unknown."""
    wanted, best, kind = path.resolve(), -1, ""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, separator, after = line.partition(" - ")
        if not separator or len(before.split()) < 5:
            continue
        point = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), before.split()[4]))
        # Of mounts at the same place, the last one covers those before it.
        if wanted.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), after.split()[0]
    return kind


def is_network(path: Path, kind: Callable[[Path], str] = filesystem_of) -> bool:
    """Whether other machines may have `path` mounted, too: locks and shared memory do not reach them."""
    return kind(path) in NETWORK
