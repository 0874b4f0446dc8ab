"""The air-gap promise from Python: an offline environment, a host allow-list (loopback), and a network namespace.

What this layer does not catch: sockets opened by native code (ctypes, a C++ or Rust extension, CUDA libraries),
children that are not Python, and Python children that do not call `enforce_from_environment`. It turns the usual
accident, a library that phones home, into a clear error; only the kernel can prove that nothing leaves, which is
what `run_isolated` is for.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from distill_offline.errors import ConfigError, EnvironmentFault, NetworkBlocked

__all__ = [
    "ALLOW_VARIABLE",
    "ENVIRONMENT",
    "allow",
    "enforce",
    "enforce_from_environment",
    "is_enforced",
    "namespace_fault",
    "permit_all",
    "run_isolated",
]

ALLOW_VARIABLE = "DISTILL_OFFLINE_ALLOW"

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "LLAMA_ARG_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_USE_MODELSCOPE": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OTEL_SDK_DISABLED": "true",
        "WANDB_MODE": "offline",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
)
"""What `enforce` sets for this process and its children."""

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_LOCAL_NETWORKS = ("127.0.0.0/8", "::1/128", "0.0.0.0/32", "::/128")  # connecting to "any" reaches this machine
_LOCAL_FAMILIES = {getattr(socket, name) for name in ("AF_UNIX", "AF_NETLINK", "AF_ALG") if hasattr(socket, name)}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(slots=True)
class _State:
    """An audit hook stays for the life of the process, so what it permits lives here."""

    installed: bool = False
    open: int = 0
    entries: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=lambda: {"localhost", "ip6-localhost"})
    networks: set[_Network] = field(default_factory=lambda: {ipaddress.ip_network(text) for text in _LOCAL_NETWORKS})
    resolved: set[_Address] = field(default_factory=set)
    proxies: dict[str, str] = field(default_factory=dict)


_state = _State()


def enforce(allow: Iterable[str] = ()) -> None:
    """Set the offline environment and stop every connection beyond loopback and `allow`.

    `allow` holds host names, addresses, networks (10.1.0.0/16) or URLs, of which the host counts. Names are looked up
    only if they are allowed. Calling it again only adds hosts. Call it before huggingface_hub or vllm is imported:
    they read their switches at import. Raises ConfigError for an entry that is no host; afterwards a forbidden
    connection raises NetworkBlocked.
    """
    _admit(allow)
    os.environ.update(ENVIRONMENT)
    for name in [name for name in os.environ if _is_proxy(name)]:
        _state.proxies[name] = os.environ.pop(name)
    os.environ[ALLOW_VARIABLE] = ",".join(_state.entries)
    if not _state.installed:
        _state.installed = True
        _look_before_lookup()
        sys.addaudithook(_hook)


def enforce_from_environment() -> bool:
    """In a child process: enforce what the parent enforced. Returns whether the parent did."""
    inherited = os.environ.get(ALLOW_VARIABLE)
    if inherited is None:
        return False
    enforce(entry for entry in inherited.split(",") if entry)
    return True


def allow(*hosts: str) -> None:
    """Admit further hosts, such as that of `backend.options.base_url`, for this process and later children."""
    _admit(hosts)
    if _state.installed:
        os.environ[ALLOW_VARIABLE] = ",".join(_state.entries)


def is_enforced() -> bool:
    """Whether connections are being stopped right now."""
    return _state.installed and not _state.open


@contextlib.contextmanager
def permit_all() -> Iterator[None]:
    """Everything is permitted inside, with the proxies and switches of a connected machine; for `models fetch` alone.

    It holds for all threads of the process and for children started inside.
    """
    touched = {name for name in ENVIRONMENT if name.endswith("_OFFLINE")} | {ALLOW_VARIABLE} | set(_state.proxies)
    before = {name: os.environ.get(name) for name in touched}
    _state.open += 1
    for name in touched:
        os.environ.pop(name, None)
    os.environ.update(_state.proxies)
    try:
        yield
    finally:
        _state.open -= 1
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _is_proxy(name: str) -> bool:
    lowered = name.lower()
    return lowered.endswith("_proxy") and lowered != "no_proxy"


def _admit(hosts: Iterable[str]) -> None:
    for entry in hosts:
        text = (urlsplit(entry).hostname or "") if "://" in entry else entry.strip()
        try:
            _state.networks.add(ipaddress.ip_network(text.strip("[]"), strict=False))
        except ValueError:
            name = re.sub(r":\d+$", "", text).rstrip(".").lower()
            if not _HOST_NAME.fullmatch(name):
                raise ConfigError(
                    f"offline allow-list: {entry!r} is no host. Give a name, an address, a network or a URL."
                ) from None
            _state.names.add(name)
            text = name
        if text not in _state.entries:
            _state.entries.append(text)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    check = _CHECKS.get(event)
    if check is not None and not _state.open:
        check(*arguments)


def _check_lookup(host: Any, *_: Any) -> None:
    if _as_address(_as_text(host)) is None:
        _check_host(_as_text(host), "looking up")


def _check_reverse_lookup(address: Any) -> None:
    _check_host(_as_text(address[0] if isinstance(address, tuple) else address), "looking up")


def _check_connection(connection: socket.socket, address: Any) -> None:
    if address is None or connection.family in _LOCAL_FAMILIES:
        return
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        raise NetworkBlocked(f"a connection over {connection.family!r} was stopped: only this machine may be reached.")
    if isinstance(address, tuple) and address:
        _check_host(_as_text(address[0]), "connecting to")


_CHECKS: Mapping[str, Callable[..., None]] = {
    "socket.connect": _check_connection,
    "socket.sendto": _check_connection,
    "socket.sendmsg": _check_connection,
    "socket.getaddrinfo": _check_lookup,
    "socket.gethostbyname": _check_lookup,
    "socket.gethostbyaddr": _check_reverse_lookup,
    "socket.getnameinfo": _check_reverse_lookup,
}


def _as_text(host: Any) -> str:
    if isinstance(host, bytes | bytearray):
        return host.decode("utf-8", "replace")
    return "" if host is None else str(host)


def _as_address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _check_host(host: str, verb: str) -> None:
    address = _as_address(host)
    if address is None:
        name = host.rstrip(".").lower()
        permitted = not name or name in _state.names or name.endswith(".localhost")
    else:
        permitted = any(address in network for network in _state.networks) or _is_address_of_allowed_name(address)
    if not permitted:
        raise NetworkBlocked(
            f"{verb} {host!r} was stopped: distill_offline reaches only this machine and the hosts you allow. "
            f"To use a server of your site, put it into backend.options.base_url or list it in {ALLOW_VARIABLE}; "
            "to get a model, run `distill-offline models fetch ID` on a connected machine."
        )


def _is_address_of_allowed_name(address: _Address) -> bool:
    """A connection shows only an address, so the allowed names (never others) are looked up to recognise theirs."""
    if address in _state.resolved:
        return True
    local = {"localhost", "ip6-localhost"}
    for name in sorted(_state.names - local):
        with contextlib.suppress(OSError):
            found = (_as_address(str(entry[4][0])) for entry in socket.getaddrinfo(name, None))
            _state.resolved.update(each for each in found if each is not None)
    return address in _state.resolved


def _look_before_lookup() -> None:
    """CPython looks up a name that is handed straight to connect() before it raises the audit event: check earlier."""
    for method, arguments in {"connect": 1, "connect_ex": 1, "sendto": 2, "sendmsg": 4}.items():
        setattr(socket.socket, method, _checked(getattr(socket.socket, method), arguments))


def _checked(original: Callable[..., Any], fewest: int) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(self: socket.socket, *arguments: Any) -> Any:
        if len(arguments) >= fewest and not _state.open:
            _check_connection(self, arguments[-1])
        return original(self, *arguments)

    return method


# Runs inside the new namespace, where loopback is down: torch.distributed and vLLM need it, and `ip` may be missing.
# 0x8913/0x8914 are SIOCGIFFLAGS and SIOCSIFFLAGS of Linux, 0x1 is IFF_UP; an ifreq is 40 bytes.
_BRING_LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    (flags,) = struct.unpack_from("16xh", fcntl.ioctl(control, 0x8913, struct.pack("16sh22x", b"lo", 0)))
    fcntl.ioctl(control, 0x8914, struct.pack("16sh22x", b"lo", flags | 0x1))
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    sys.exit(f"{sys.argv[1]}: {error.strerror}")
"""


def namespace_fault() -> str | None:
    """Why no network namespace can be made here, or None if one can."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return "the command unshare (util-linux) is not installed"
    try:
        probe = subprocess.run([unshare, "-rn", "true"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unshare does not run ({type(error).__name__})"
    return None if probe.returncode == 0 else (probe.stderr.strip().splitlines() or ["unshare failed"])[-1]


def run_isolated(argv: Sequence[str]) -> int:
    """Run a command where the kernel has no network but loopback; its exit status, 128 + n where signal n ended it.

    Linux only, no privilege needed. Raises EnvironmentFault where namespaces are not permitted.
    """
    fault = namespace_fault()
    if fault is not None:
        raise EnvironmentFault(
            f"no network namespace can be made: {fault}. Permit unprivileged user namespaces (sysctl "
            "user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns) "
            "or run on a machine whose network is unplugged."
        )
    command = ["unshare", "-rn", sys.executable, "-I", "-c", _BRING_LOOPBACK_UP, *argv]
    status = subprocess.run(command, check=False).returncode
    return status if status >= 0 else 128 - status
