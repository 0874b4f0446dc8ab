"""Every error of ours, as one tree.

    DistillError                 1  something failed; the base of all below
    ├── InputError               2  the user's input cannot be used
    │   ├── ConfigError             a configuration file or --set
    │   ├── CorpusError             a corpus file: FILE:LINE says where
    │   └── OverlapError            training data that also stands in dev or test
    ├── QuarantineError          3  more rows quarantined than annotate.max_quarantined allows
    ├── EnvironmentFault         4  the machine: model, package, driver, disk
    │   ├── MissingModel            a model that is not there or not intact
    │   ├── MissingPackage          an optional dependency that is not installed
    │   ├── OutOfMemory             the GPU's memory, or the machine's, does not suffice
    │   ├── BackendError            an engine that cannot start or has died
    │   ├── StoreError              a completion store that cannot be used
    │   └── NetworkBlocked          a connection that the air-gap promise forbids
    ├── GateMissed               5  a quality gate was missed
    ├── IntegrityError           1  files differ from what their manifest says
    ├── Interrupted            130  stopped by the user or a scheduler; resumable
    └── UnusableAnswer           1  a completion that cannot be parsed; caught by annotate and counted

A user's mistake is printed as one clean line and the exit code above; anything outside this tree is a bug of ours
and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import re
from typing import ClassVar

__all__ = [
    "BackendError",
    "ConfigError",
    "CorpusError",
    "DistillError",
    "EnvironmentFault",
    "GateMissed",
    "InputError",
    "IntegrityError",
    "Interrupted",
    "MissingModel",
    "MissingPackage",
    "NetworkBlocked",
    "OutOfMemory",
    "OverlapError",
    "QuarantineError",
    "StoreError",
    "UnusableAnswer",
    "native_os_error",
    "os_fault",
]


class DistillError(Exception):
    """Something failed; the message says what, where and what to do."""

    exit_code: ClassVar[int] = 1


class InputError(DistillError):
    """The user's input cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration key or value is unknown, missing or contradictory."""


class CorpusError(InputError):
    """A corpus file cannot be read; the message starts with `file:line:`."""


class OverlapError(InputError):
    """Sentences of the training data also occur in dev or test."""


class QuarantineError(DistillError):
    """More rows were quarantined than `annotate.max_quarantined` allows."""

    exit_code = 3


class EnvironmentFault(DistillError):
    """The machine lacks something: a model, a package, a driver, disk space."""

    exit_code = 4


class MissingModel(EnvironmentFault):
    """A model is not there, or its files differ from the catalogue's digests."""


class MissingPackage(EnvironmentFault):
    """An optional dependency is not installed; the message names the extra."""


class OutOfMemory(EnvironmentFault):
    """The GPU's memory, or the machine's, does not suffice; the message says what to set lower."""


class BackendError(EnvironmentFault):
    """An engine could not start, or died."""


class StoreError(EnvironmentFault):
    """A completion store cannot be opened, written or trusted."""


class NetworkBlocked(EnvironmentFault):
    """A connection to a host outside the allow-list was stopped."""


class GateMissed(DistillError):
    """A score lies below the quality gate that was asked for."""

    exit_code = 5


class IntegrityError(DistillError):
    """Files were changed, are missing, or were added since their manifest was written."""


class Interrupted(DistillError):
    """The run was stopped; running the same command again goes on where it stopped."""

    exit_code = 130


class UnusableAnswer(DistillError):
    """A completion that cannot become an annotation; `reason` is what the quarantine counts."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


_ADVICE = {
    errno.ENOSPC: "Make room on that disk, or write to another.",
    errno.EDQUOT: "Make room within your quota, or write to another disk.",
    errno.EROFS: "That disk can only be read: write to another.",
    errno.EFBIG: "Files may not grow so large there (ulimit -f, or the file system): write elsewhere.",
    errno.EIO: "The disk itself reports a fault: see what the system's log says of it.",
    errno.EACCES: "Look at the owner and the permissions of the file and of its folders.",
    errno.EPERM: "Look at the owner and the permissions of the file and of its folders.",
    errno.ENOENT: "Is the name right, and does its folder exist?",
    errno.EEXIST: "Something else has that name: move it away, or choose another.",
    errno.EISDIR: "That is a folder, and a file is needed.",
    errno.ENOTDIR: "A part of that path is a file, and a folder is needed.",
    errno.ENAMETOOLONG: "Use a shorter name or path.",
    errno.ELOOP: "Symbolic links there lead round in a circle.",
    errno.EMFILE: "This process has too many files open: allow more with ulimit -n.",
    errno.ENFILE: "The whole machine has too many files open.",
    errno.ENOMEM: "Free some memory.",
}


def os_fault(error: OSError) -> EnvironmentFault:
    """What the operating system refused, with advice that is about it, if there is any to give."""
    location = f"{error.filename}: " if isinstance(error.filename, str) else ""
    advice = _ADVICE.get(error.errno or 0)
    kept = " What was stored is kept, and the same command goes on."
    return EnvironmentFault(f"{location}{error.strerror or error}.{' ' + advice if advice else ''}{kept}")


def native_os_error(error: Exception) -> OSError | None:
    """What the operating system refused to a writer in Rust (weights, tokenizers), which tells it in its own words."""
    if isinstance(error, OSError):
        return error
    number = re.search(r"os error (\d+)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None
