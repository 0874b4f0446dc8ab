"""In and out of a Ray cluster: joined at an address, or one of our own that only this machine and we can reach."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

from distill_offline import offline
from distill_offline.backends.options import require
from distill_offline.config.settings import ClusterSettings
from distill_offline.errors import BackendError, ConfigError, DistillError
from distill_offline.offline.signals import DRAINS

__all__ = ["Session", "brief", "environment", "own_folder"]

_REMEDY = "pip install 'distill_offline[ray]'"
_STORE_BYTES = 200_000_000  # of a Ray of our own: only the prompts and answers under way pass through it
_LONGEST = 26  # of 107 characters, what Ray's session and socket and our own folder leave


class Session:
    """This process as part of a Ray cluster, from `join` to `leave`; `ray` is the package. One at a time in a process.

    Raises MissingPackage without Ray, ConfigError for a folder that will not do, and BackendError if there is no
    cluster, or none with room for a single worker.
    """

    def __init__(self, cluster: ClusterSettings) -> None:
        self._cluster = cluster
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._joined = False
        self.ray: Any = None
        host = cluster.address.removeprefix("ray://").rpartition(":")[0]
        if host:
            offline.allow(host)

    def join(self) -> None:
        """Join the cluster at the address; if there is none, start our own."""
        _set_switches(own_cluster=not self._cluster.address, log=self._cluster.log)
        self.ray = require("ray", _REMEDY)
        require("ray.data", _REMEDY)
        if self.ray.is_initialized():
            raise BackendError("annotate.cluster: this process is part of a Ray cluster already. Leave that first.")
        self._joined = True
        try:
            with _our_signals():
                self._init()
            self._check_room()
        except DistillError:
            self.leave()
            raise
        except (OSError, RuntimeError, ValueError, self.ray.exceptions.RayError) as error:
            self.leave()
            raise BackendError(f"annotate.cluster: Ray cannot be used: {brief(error)}.") from error

    def leave(self) -> None:
        """Leave; a cluster of our own ends, and what it left on this machine is removed. Twice is harmless."""
        if self._joined:
            self.ray.shutdown()
            self._joined = False
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _init(self) -> None:
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": self._cluster.log}
        if self._cluster.address:
            self.ray.init(address=self._cluster.address, **quiet)
            return
        self._folder = own_folder(self._cluster.folder)
        self.ray.init(
            address="local",
            num_cpus=max(1, math.ceil(self._cluster.workers * self._cluster.cpus)),
            object_store_memory=_STORE_BYTES,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=f"{self._folder.name}/r",  # Ray opens its own folder to all; the one around it is 0700
            **quiet,
        )
        if self.ray.util.get_node_ip_address() != "127.0.0.1":
            raise BackendError(
                "annotate.cluster: Ray would listen beyond this machine: it was imported before we could say."
            )

    def _check_room(self) -> None:
        there = self.ray.cluster_resources()
        for name, wanted in (("CPU", self._cluster.cpus), ("GPU", self._cluster.gpus)):
            has = there.get(name, 0.0)
            if has < wanted:
                raise BackendError(
                    f"annotate.cluster.{name.lower()}s: a worker wants {wanted:g} {name}, the cluster has {has:g}."
                )


def environment() -> dict[str, str]:
    """The offline promise, for the nodes: the switches, and the allow-list where it is enforced here."""
    allowed = os.environ.get(offline.ALLOW_VARIABLE)
    return {**offline.ENVIRONMENT, **({} if allowed is None else {offline.ALLOW_VARIABLE: allowed})}


def _set_switches(own_cluster: bool, log: bool) -> None:
    """Ray reads them when it is imported. A Ray of our `own_cluster` listens on loopback, and to who knows a token.

    Without the token, anybody else on this machine could run code as us through its ports.
    """
    os.environ.update(environment())
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # or a late call after close() would start another Ray
    if not log:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if own_cluster and "ray" not in sys.modules:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on Linux, too: this node's address is 127.0.0.1
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def own_folder(above: str) -> tempfile.TemporaryDirectory[str]:
    """A folder of mode 0700 for sockets, logs and spilled objects; Ray's sockets leave its path little room."""
    if len(above) > _LONGEST:
        raise ConfigError(f"annotate.cluster.folder: at most {_LONGEST} characters, for Ray's sockets lie deep in it.")
    base = above or (tempfile.gettempdir() if len(tempfile.gettempdir()) <= _LONGEST else "/tmp")
    try:
        return tempfile.TemporaryDirectory("", "ray-", base, ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigError(f"annotate.cluster.folder: cannot write to {base}: {error.strerror}.") from error


@contextlib.contextmanager
def _our_signals() -> Iterator[None]:
    """Ray puts its own handlers over those that drain and commit a run; put ours back."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in DRAINS} if main else {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def brief(error: BaseException | None) -> str:
    """The last line of an error, without the remote traceback that Ray puts before it."""
    lines = str(error).strip().splitlines() if error is not None else []
    return f"{type(error).__name__}: {lines[-1].strip()[:300]}" if lines else type(error).__name__
