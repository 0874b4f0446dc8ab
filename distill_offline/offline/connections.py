"""The air-gap promise from Python: an offline environment, and a host allow-list (loopback).

What this layer does not catch: sockets opened before `enforce`, or by native code (ctypes, a C++ or Rust extension,
CUDA libraries), children that are not Python, Python children and interpreters within this one that do not call
`enforce_from_environment`, and a name given to `_socket` itself, which looks it up before anybody is asked. It turns
the usual accident, a library that phones home, into a clear error; only the kernel can prove that nothing leaves, which
is what isolation.py is for.
"""

from __future__ import annotations

import _socket
import contextlib
import functools
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from distill_offline.errors import ConfigError, NetworkBlocked

__all__ = [
    "ALLOW_VARIABLE",
    "ENVIRONMENT",
    "allow",
    "enforce",
    "enforce_from_environment",
    "hosts",
    "is_enforced",
    "permit_all",
    "proxies",
    "stops",
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
_LOCAL_NAMES = {"localhost", "ip6-localhost"}
_LOCAL_FAMILIES = {getattr(socket, name) for name in ("AF_UNIX", "AF_NETLINK", "AF_ALG") if hasattr(socket, name)}

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(slots=True)
class _State:
    """An audit hook stays for the life of the process, so what it permits lives here."""

    installed: bool = False
    open: int = 0
    entries: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=lambda: set(_LOCAL_NAMES))
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
    """Admit further hosts, such as that of `backend.options.base_url`, for this process and later children.

    Raises ConfigError for one that is not this machine where the kernel leaves us nothing but loopback.
    """
    beyond = [name for name in map(_host_in, hosts) if not _is_this_machine(name)]
    if beyond and _is_loopback_only():
        raise ConfigError(
            f"{', '.join(beyond)} cannot be reached: this process has no network but loopback (--isolate, or a network "
            "namespace around it). Run this command without it, or use a backend that loads its model here: llama_cpp, "
            "vllm or transformers."
        )
    _admit(hosts)
    if _state.installed:
        os.environ[ALLOW_VARIABLE] = ",".join(_state.entries)


def _is_loopback_only() -> bool:
    from distill_offline.offline import isolation  # imported here, since every command imports us

    return isolation.is_loopback_only()


def is_enforced() -> bool:
    """Whether connections are being stopped right now."""
    return _state.installed and not _state.open


def hosts() -> tuple[str, ...]:
    """What was admitted beyond this machine."""
    return tuple(entry for entry in _state.entries if not _is_this_machine(entry))


def proxies() -> tuple[str, ...]:
    """The names of the proxy variables that `enforce` took out of the environment."""
    return tuple(sorted(_state.proxies))


def stops(address: str) -> bool:
    """Whether a connection from Python to this address is stopped; nothing is sent, since only the hook is asked."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as connection:
        try:
            sys.audit("socket.connect", connection, (address, 9))
        except NetworkBlocked:
            return True
    return False


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
    for text in map(_host_in, hosts):
        try:
            _state.networks.add(ipaddress.ip_network(text, strict=False))
        except ValueError:
            _state.names.add(text)
        if text not in _state.entries:
            _state.entries.append(text)


def _host_in(entry: str) -> str:
    """The address, network or name in an entry of the allow-list, which may be a URL."""
    from urllib.parse import urlsplit  # only here: it takes long, and --help needs none

    text = ((urlsplit(entry).hostname or "") if "://" in entry else entry.strip()).strip("[]")
    with contextlib.suppress(ValueError):
        ipaddress.ip_network(text, strict=False)
        return text
    name = re.sub(r":\d+$", "", text).rstrip(".").lower()
    if not _HOST_NAME.fullmatch(name):
        raise ConfigError(f"offline allow-list: {entry!r} is not a host. Give a name, an address, a network or a URL.")
    return name


def _is_this_machine(entry: str) -> bool:
    address = _as_address(entry)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    return entry in _LOCAL_NAMES


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
    if address is not None and _is_internet(connection) and isinstance(address, tuple) and address:
        _check_host(_as_text(tuple.__getitem__(address, 0)), "connecting to")


def _check_binding(connection: socket.socket, address: Any) -> None:
    """To be found at an address of this machine is no connection; a name would be looked up elsewhere."""
    if _is_internet(connection) and isinstance(address, tuple) and address:
        _check_lookup(tuple.__getitem__(address, 0))


def _is_internet(connection: _socket.socket) -> bool:
    """False for a family that reaches this machine alone. Raises NetworkBlocked for any other, bound or connected."""
    family = _socket.socket.family.__get__(connection)  # what the kernel has, whatever a subclass says
    if family in _LOCAL_FAMILIES:
        return False
    if family not in (socket.AF_INET, socket.AF_INET6):
        raise NetworkBlocked(f"a socket of family {family} was stopped: only this machine may be reached.")
    return True


_CHECKS: Mapping[str, Callable[..., None]] = {
    "socket.bind": _check_binding,  # packets of AF_PACKET go where it is bound to
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
        return bytes.decode(bytes(memoryview(host)), "utf-8", "replace")
    # What the socket itself reads, whatever a subclass says.
    return "" if host is None else str.__str__(host) if isinstance(host, str) else str(host)


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
        permitted = not name or name in _state.names
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
    for name in sorted(_state.names - _LOCAL_NAMES):
        with contextlib.suppress(OSError):
            addresses = (_as_address(str(entry[4][0])) for entry in socket.getaddrinfo(name, None))
            _state.resolved.update(address_ for address_ in addresses if address_ is not None)
    return address in _state.resolved


def _look_before_lookup() -> None:
    """CPython looks up a name that is handed straight to connect() before it raises the audit event: check earlier."""
    for method, arguments in {"bind": 1, "connect": 1, "connect_ex": 1, "sendto": 2, "sendmsg": 4}.items():
        check = _check_binding if method == "bind" else _check_connection
        setattr(socket.socket, method, _checked(getattr(socket.socket, method), arguments, check))


def _checked(original: Callable[..., Any], fewest: int, check: Callable[..., None]) -> Callable[..., Any]:
    @functools.wraps(original)
    def method(self: socket.socket, *arguments: Any) -> Any:
        if len(arguments) >= fewest and not _state.open:
            check(self, arguments[-1])
        return original(self, *arguments)

    return method
