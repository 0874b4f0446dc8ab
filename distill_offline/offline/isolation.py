"""A network namespace with loopback only: entering one, and asking the kernel whether this process is in one.

What the kernel says counts; no environment variable is believed. A namespace bounds the process and every child of it,
native code included. It does not bound sockets that were opened before, sockets that lie as files on a disk, and the
sockets of a virtual machine to its host (AF_VSOCK).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import socket
import stat
import struct
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from distill_offline import children
from distill_offline.errors import EnvironmentFault

__all__ = [
    "DOCUMENTATION",
    "NetworkState",
    "Probe",
    "enter",
    "is_loopback_only",
    "obstacles",
    "probe",
    "restart_isolated",
    "state",
]

DOCUMENTATION = ("192.0.2.1", "2001:db8::1")
"""Addresses that no machine has (RFC 5737, RFC 3849)."""

# Linux: linux/sched.h, linux/if.h, bits/ioctls.h. An ifreq is 40 bytes on 64-bit machines.
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_IS_UP, _IS_LOOPBACK = 0x1, 0x8
_GET_FLAGS, _SET_FLAGS = 0x8913, 0x8914
_IFREQ = "16sh22x"
_LOCAL_FAMILIES = {getattr(socket, name, None) for name in ("AF_UNIX", "AF_NETLINK", "AF_ALG")}

_SWITCHES = {  # file below /proc/sys → the value that forbids, and what the site can do
    "kernel/unprivileged_userns_clone": ("0", "sysctl kernel.unprivileged_userns_clone=1"),
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,` for this Python",
    ),
    "user/max_user_namespaces": ("0", "sysctl user.max_user_namespaces=10000"),
    "user/max_net_namespaces": ("0", "sysctl user.max_net_namespaces=10000"),
}


@dataclass(frozen=True, slots=True)
class NetworkState:
    """What the kernel gives this process: its namespace, the interfaces that are up, and routes that lead away.

    `up` and `down` leave loopback out; `routes` counts those through another interface than loopback.
    """

    namespace: str
    loopback_up: bool
    up: tuple[str, ...]
    down: tuple[str, ...]
    routes: int

    @property
    def is_loopback_only(self) -> bool:
        """Loopback is up, no other interface is, and no route leads to one."""
        return self.loopback_up and not self.up and not self.routes


@dataclass(frozen=True, slots=True)
class Probe:
    """What a child found in a namespace of its own, or in ours where that has loopback only.

    `fault` says why there was none, else it is empty; `attempts` maps each documentation address to what connecting to
    it gave, and is empty if it was not certain that nothing could leave.
    """

    fault: str
    inside: NetworkState | None
    attempts: dict[str, str]


def state() -> NetworkState:
    """The network of this process. Raises EnvironmentFault if it cannot be told: no Linux, or no /proc."""
    if sys.platform != "linux":
        raise EnvironmentFault(f"network namespaces are Linux's; this is {sys.platform}.")
    try:
        names = [line.partition(":")[0].strip() for line in _lines("/proc/thread-self/net/dev")[2:]]
        # IPv6 may be switched off in the kernel; IPv4 may not.
        routes = [line.split()[0] for line in _lines("/proc/thread-self/net/route")[1:]]
        with contextlib.suppress(FileNotFoundError):
            routes += [line.split()[-1] for line in _lines("/proc/thread-self/net/ipv6_route")]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            flags = {name: _flags(control, name) for name in names}
        namespace = str(Path("/proc/thread-self/ns/net").readlink())
    except OSError as error:
        raise EnvironmentFault(f"the kernel does not tell what network there is: {error}. Is /proc mounted?") from error
    loopback = {name for name in names if flags[name] & _IS_LOOPBACK}
    others = [name for name in sorted(names) if name not in loopback]
    return NetworkState(
        namespace,
        any(flags[name] & _IS_UP for name in loopback),
        tuple(name for name in others if flags[name] & _IS_UP),
        tuple(name for name in others if not flags[name] & _IS_UP),
        sum(name not in loopback for name in routes),
    )


def is_loopback_only() -> bool:
    """Whether no packet of this process can leave; False where that cannot be told."""
    try:
        return state().is_loopback_only
    except EnvironmentFault:
        return False


def enter() -> None:
    """Move this process into a new network namespace with loopback up and nothing else; children are born into it.

    Users and groups stay, so that files keep their owner. Where the process may not make a network namespace by itself,
    it makes a user namespace first. Other threads stay outside, so call it before there are any, or replace the program
    afterwards. Raises EnvironmentFault, with what would permit it; the process may then be in a namespace where
    nothing works, and should end.
    """
    _refuse_open_connections()
    user, group = os.geteuid(), os.getegid()
    if refusal := _unshare(_NEW_NETWORK):
        if refusal != errno.EPERM:
            raise _not_permitted(os.strerror(refusal))
        if refusal := _unshare(_NEW_USER | _NEW_NETWORK):
            threads = " (or other threads run already)" if refusal == errno.EINVAL else ""
            raise _not_permitted(f"the kernel refuses: {os.strerror(refusal)}{threads}")
        try:
            Path("/proc/self/setgroups").write_text("deny", encoding="utf-8")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="utf-8")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="utf-8")
        except OSError as error:
            raise _not_permitted(f"the kernel refuses users inside: {error.strerror}") from error
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            wanted = struct.pack(_IFREQ, b"lo", _flags(control, "lo") | _IS_UP)
            _ioctl(control, _SET_FLAGS, wanted)
    except OSError as error:
        raise _not_permitted(f"loopback does not come up inside: {error.strerror}") from error
    now = state()
    if not now.is_loopback_only:
        raise EnvironmentFault(f"the new network namespace is not empty: {now}. Nothing was started.")


def restart_isolated() -> None:
    """Start this very command again inside a namespace with loopback only; returns only where it is in one already.

    Same process, arguments, environment and folder. Raises EnvironmentFault if that cannot be done: the command
    never goes on outside.
    """
    if state().is_loopback_only:
        _refuse_open_connections()
        return
    enter()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def obstacles() -> dict[str, str]:
    """The kernel's settings that forbid unprivileged namespaces here, each with what would permit them."""
    switches = {}
    for name, (forbidding, remedy) in _SWITCHES.items():
        with contextlib.suppress(OSError):
            value = Path("/proc/sys", name).read_text(encoding="utf-8").strip()
            if value == forbidding:
                switches[f"{name.replace('/', '.')}={value}"] = remedy
    return switches


def probe() -> Probe:
    """Let a child make a namespace (or stay in ours, if that has loopback only) and try to reach beyond it.

    The child tries only where the kernel says that no interface but loopback is up.
    """
    child = [sys.executable, "-P", "-m", "distill_offline.offline.isolation"]  # -P: not what lies in this folder
    try:
        done = children.run(child, text=True, timeout=60)
        answer = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return Probe(f"a child that makes one does not end well ({type(error).__name__})", None, {})
    inside = answer["inside"]
    if inside is not None:
        inside = NetworkState(**inside | {key: tuple(inside[key]) for key in ("up", "down")})
    return Probe(answer["fault"], inside, answer["attempts"])


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8", errors="replace").splitlines()


def _flags(control: socket.socket, name: str) -> int:
    asked = struct.pack(_IFREQ, name.encode(), 0)
    (flags,) = struct.unpack_from("16xh", _ioctl(control, _GET_FLAGS, asked))
    return int(flags)


def _ioctl(control: socket.socket, request: int, argument: bytes) -> bytes:
    import fcntl  # absent on Windows, where this module still has to load

    return bytes(fcntl.ioctl(control, request, argument))


def _unshare(flags: int) -> int:
    """0, or the number of the error. (os.unshare is Python 3.12's.)"""
    libc = ctypes.CDLL(None, use_errno=True)
    return 0 if libc.unshare(flags) == 0 else ctypes.get_errno()


def _not_permitted(why: str) -> EnvironmentFault:
    switches = obstacles()
    hint = "; ".join(f"{name} forbids it: {remedy}" for name, remedy in switches.items()) or (
        "Containers need a seccomp profile that permits unshare, or CAP_SYS_ADMIN; root needs nothing else"
    )
    return EnvironmentFault(
        f"no network namespace can be made: {why}. {hint}. Or run on a machine whose network is unplugged."
    )


def _refuse_open_connections() -> None:
    """A socket made before stays in the namespace it was made in, so that it would be a way out."""
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            if not stat.S_ISSOCK(descriptor.stat().st_mode):
                continue
            with socket.socket(fileno=os.dup(int(descriptor.name))) as inherited:
                family = inherited.family
        except OSError:  # it was the folder's own
            continue
        if family not in _LOCAL_FAMILIES:
            raise EnvironmentFault(
                f"descriptor {descriptor.name} is a network socket opened before, and would stay a way out of the "
                "namespace. Close it in the program that starts this one."
            )


def _attempt(address: str) -> str:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as connection:
            connection.settimeout(5)
            connection.connect((address, 9))
    except TimeoutError:
        return "timed out"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "connected"


def _main() -> NoReturn:
    """The child of probe(): says what it found as JSON."""
    outcome: dict[str, Any] = {"fault": "", "inside": None, "attempts": {}}
    try:
        if not state().is_loopback_only:
            enter()
        inside = state()
        outcome["inside"] = asdict(inside)
        if not inside.up:
            outcome["attempts"] = {address: _attempt(address) for address in DOCUMENTATION}
    except EnvironmentFault as error:
        outcome["fault"] = str(error)
    sys.stdout.write(json.dumps(outcome))
    sys.exit()


if __name__ == "__main__":
    _main()
