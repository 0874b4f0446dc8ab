"""Attempts to reach addresses that no machine has, where no packet can leave: to see that a tracer catches each.

`python -m distill_offline.offline.decoys` makes a namespace with loopback only, tries each way out once, and prints, as
JSON, "tried" for each or why it could not be. Outside of such a namespace it tries nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import util
from types import MappingProxyType

from distill_offline import children
from distill_offline.errors import EnvironmentFault
from distill_offline.offline import isolation

__all__ = ["DECOYS"]

DECOYS: Mapping[str, str] = MappingProxyType(
    {
        "Python": "192.0.2.11",
        "native code": "192.0.2.12",
        "a child process": "192.0.2.13",
        "UDP by sendto": "192.0.2.14",
        "UDP by sendmsg": "192.0.2.15",
        "UDP by sendmmsg": "192.0.2.16",
        "IPv6": "2001:db8::11",
        "IPv4 within IPv6": "::ffff:192.0.2.17",
        "a Rust client": "192.0.2.18",
    }
)
"""Each way out, and the address that it alone tries."""

_PORT = 9  # discard


class _Untried(Exception):
    """Why a way out was not tried."""


_CHILD = """
import socket, sys
socket.socket().connect_ex((sys.argv[1], int(sys.argv[2])))
"""

# hf_xet is huggingface_hub's client for large files, written in Rust.
_RUST = """
import sys
from hf_xet import XetConfig, XetFileInfo, XetSession
config = XetConfig().with_config({"client.retry_max_attempts": 0, "client.retry_max_duration": "1s"})
try:
    group = XetSession(config).new_file_download_group(
        endpoint=f"http://{sys.argv[1]}:{sys.argv[2]}", token="none", token_expiry_unix_secs=2**32
    )
    group.start_download_file(XetFileInfo("ab" * 32, 1), "/dev/null")
    group.wait_to_finish()
except RuntimeError:
    pass
"""


class _Address(ctypes.Structure):
    """sockaddr_in."""

    _fields_ = (
        ("family", ctypes.c_ushort),
        ("port", ctypes.c_uint16),
        ("address", ctypes.c_ubyte * 4),
        ("zero", ctypes.c_ubyte * 8),
    )


class _Part(ctypes.Structure):
    """iovec."""

    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("parts", ctypes.POINTER(_Part)),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Sent(ctypes.Structure):
    """mmsghdr."""

    _fields_ = (("message", _Message), ("length", ctypes.c_uint))


def _address(text: str) -> _Address:
    return _Address(
        socket.AF_INET, socket.htons(_PORT), (ctypes.c_ubyte * 4)(*socket.inet_aton(text)), (ctypes.c_ubyte * 8)()
    )


def _by_python(address: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as connection:
        connection.connect_ex((address, _PORT))


def _by_native_code(address: str) -> None:
    with socket.socket() as connection:
        ctypes.CDLL(None).connect(connection.fileno(), ctypes.byref(_address(address)), ctypes.sizeof(_Address))


def _by_child(address: str) -> None:
    children.run([sys.executable, "-I", "-S", "-c", _CHILD, address, str(_PORT)], check=True, timeout=60)


def _by_datagram(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection, contextlib.suppress(OSError):
        connection.sendto(b"x", (address, _PORT))


def _by_message(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection, contextlib.suppress(OSError):
        connection.sendmsg([b"x"], [], 0, (address, _PORT))


def _by_many_messages(address: str) -> None:
    """The first goes to loopback, so that only one who reads the whole list sees the second."""
    targets = [_address("127.0.0.1"), _address(address)]
    part = _Part(b"x", 1)
    heads = [_Message(ctypes.addressof(each), ctypes.sizeof(each), ctypes.pointer(part), 1) for each in targets]
    messages = (_Sent * 2)(*(_Sent(head, 0) for head in heads))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        ctypes.CDLL(None).sendmmsg(connection.fileno(), messages, 2, 0)


def _by_rust(address: str) -> None:
    if util.find_spec("hf_xet") is None:
        raise _Untried("hf_xet, the client that huggingface_hub brings, is not installed")
    command = [sys.executable, "-I", "-W", "ignore", "-c", _RUST, address, str(_PORT)]
    try:
        done = children.run(command, timeout=30, text=True)
    except subprocess.TimeoutExpired:
        return  # it tries again and again; what it tried is in the trace
    if done.returncode:
        raise _Untried(f"hf_xet cannot be used: {(done.stderr.strip().splitlines() or ['?'])[-1]}")


_WAYS: Mapping[str, Callable[[str], None]] = {
    "Python": _by_python,
    "native code": _by_native_code,
    "a child process": _by_child,
    "UDP by sendto": _by_datagram,
    "UDP by sendmsg": _by_message,
    "UDP by sendmmsg": _by_many_messages,
    "IPv6": _by_python,
    "IPv4 within IPv6": _by_python,
    "a Rust client": _by_rust,
}


def _main() -> None:
    if not isolation.state().is_loopback_only:
        isolation.enter()
    said = {}
    for name, address in DECOYS.items():
        try:
            _WAYS[name](address)
            said[name] = "tried"
        except (OSError, _Untried, subprocess.SubprocessError) as error:
            said[name] = str(error) or type(error).__name__
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    try:
        _main()
    except EnvironmentFault as error:
        sys.exit(str(error))
