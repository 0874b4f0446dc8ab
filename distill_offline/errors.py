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
    "OverlapError",
    "QuarantineError",
    "StoreError",
    "UnusableAnswer",
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
    """Sentences of the training data stand in dev or test, too."""


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
