"""Ways around the guard in Python: which of them it stops, and which only a namespace of the kernel's stops.

All are tried in one child that has loopback and nothing else, so that none can leave, whatever the guard does. "guard"
is NetworkBlocked; "kernel" means that the guard let it pass, and the kernel had nowhere to send it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from distill_offline.offline import isolation

ROOT = Path(__file__).parent.parent
FAULT = isolation.probe().fault
pytestmark = pytest.mark.skipif(bool(FAULT), reason=f"no network namespace here: {FAULT}")

# Each is a function's body, or an expression; BEYOND is an address that no machine has, NAME a name that nobody has.
GUARDED = {
    "a subclass": "class S(socket.socket): pass\nS().connect(BEYOND)",
    "a subclass that has its own connect": "class S(socket.socket):\n    connect = _socket.socket.connect\n"
    "S().connect(BEYOND)",
    "a subclass that lies about its family": "class S(socket.socket): family = socket.AF_UNIX\nS().connect(BEYOND)",
    "_socket.socket": "_socket.socket().connect(BEYOND)",
    "_socket.socket by connect_ex": "_socket.socket().connect_ex(BEYOND)",
    "the parent's method": "_socket.socket.connect(socket.socket(), BEYOND)",
    "a tuple that lies": "class T(tuple):\n    def __getitem__(self, i): return '127.0.0.1'\n"
    "socket.socket().connect(T(BEYOND))",
    "a host that lies": "class H(str):\n    def __str__(self): return '127.0.0.1'\n"
    "socket.socket().connect((H(BEYOND[0]), 9))",
    "bytes that lie": "class H(bytes):\n    def decode(self, *_): return '127.0.0.1'\n"
    "socket.socket().connect((H(BEYOND[0].encode()), 9))",
    "bytes": "socket.socket().connect((BEYOND[0].encode(), 9))",
    "a bytearray": "socket.socket().connect((bytearray(BEYOND[0].encode()), 9))",
    "a number for an address": "socket.socket().connect(('3221225985', 9))",
    "an address in hexadecimal": "socket.socket().connect(('0xC0000201', 9))",
    "an address of three parts": "socket.socket().connect(('192.0.513', 9))",
    "IPv4 in IPv6": "socket.socket(socket.AF_INET6).connect(('::ffff:192.0.2.1', 9))",
    "IPv4 in IPv6, the old way": "socket.socket(socket.AF_INET6).connect(('::192.0.2.1', 9))",
    "this machine's address, translated": "socket.socket(socket.AF_INET6).connect(('64:ff9b::127.0.0.1', 9))",
    "a link-local address": "socket.socket(socket.AF_INET6).connect(('fe80::1%lo', 9))",
    "connect_ex": "socket.socket().connect_ex(BEYOND)",
    "sendto": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', BEYOND)",
    "sendto with flags": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', 0, BEYOND)",
    "_socket.socket's sendto": "_socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', BEYOND)",
    "data in the first packet": "socket.socket().sendto(b'x', socket.MSG_FASTOPEN, BEYOND)",
    "sendmsg": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, BEYOND)",
    "_socket.socket's sendmsg": "_socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, BEYOND)",
    "a descriptor taken over": "socket.socket(fileno=os.dup(socket.socket().detach())).connect(BEYOND)",
    "socket.fromfd": "s = socket.socket()\n"
    "socket.fromfd(s.fileno(), socket.AF_INET, socket.SOCK_STREAM).connect(BEYOND)",
    "dup": "socket.socket().dup().connect(BEYOND)",
    "create_connection": "socket.create_connection(BEYOND, timeout=1)",
    "another thread": "import concurrent.futures as c\n"
    "c.ThreadPoolExecutor().submit(socket.create_connection, BEYOND, 1).result()",
    "asyncio": "asyncio.run(asyncio.open_connection(*BEYOND))",
    "asyncio's sock_connect": "async def f():\n    s = socket.socket(); s.setblocking(False)\n"
    "    await asyncio.get_running_loop().sock_connect(s, BEYOND)\nasyncio.run(f())",
    "asyncio's datagrams": "async def f():\n    loop = asyncio.get_running_loop()\n"
    "    await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=BEYOND)\nasyncio.run(f())",
    "asyncio's lookup": "asyncio.run(asyncio.open_connection(NAME, 9))",
    "getaddrinfo": "socket.getaddrinfo(NAME, 9)",
    "_socket.getaddrinfo": "_socket.getaddrinfo(NAME, 9)",
    "gethostbyname": "socket.gethostbyname(NAME)",
    "gethostbyname_ex": "socket.gethostbyname_ex(NAME)",
    "gethostbyaddr": "socket.gethostbyaddr(BEYOND[0])",
    "getnameinfo": "socket.getnameinfo(BEYOND, 0)",
    "getfqdn": "socket.getfqdn(NAME)",
    "a name below localhost": "socket.getaddrinfo('a.secret.localhost', 9)",
    "a name to connect": "socket.socket().connect((NAME, 9))",
    "a name to bind": "socket.socket().bind((NAME, 9))",
    "a name to sendto": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (NAME, 9))",
    "http": "import urllib.request\nurllib.request.urlopen(f'http://{BEYOND[0]}:9/', timeout=1)",
    "smtp": "import smtplib\nsmtplib.SMTP(BEYOND[0], 9, timeout=1)",
    "logging": "import logging.handlers\nlogging.handlers.SocketHandler(*BEYOND).makeSocket()",
    "syslog": "import logging.handlers\nlogging.handlers.SysLogHandler(BEYOND).socket.sendto(b'x', BEYOND)",
    "multiprocessing's client": "import multiprocessing.connection as c\nc.Client(BEYOND)",
    "a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).sendto(b'x', BEYOND)",
    "AF_PACKET by sendto": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW).sendto(b'x' * 60, ('lo', 0x800))",
    "AF_PACKET by bind": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW).bind(('lo', 0x800))",
    "AF_VSOCK": "socket.socket(socket.AF_VSOCK).connect((2, 9))",
    "AF_VSOCK's listener": "socket.socket(socket.AF_VSOCK).bind((socket.VMADDR_CID_ANY, 9))",
    "a child by fork": "if os.fork() == 0:\n    os._exit(int(outcome(GUARDED['sendto']) != 'guard'))\n"
    "if os.waitstatus_to_exitcode(os.wait()[1]) == 0: raise NetworkBlocked('in the child')",
    "multiprocessing by fork": "import multiprocessing as m\nwith m.get_context('fork').Pool(1) as pool:\n"
    "    pool.apply(socket.create_connection, (BEYOND, 1))",
}  # fmt: skip

ONLY_ISOLATED = {
    "native code": "a = bytes([2, 0, 0, 9, 192, 0, 2, 1]) + bytes(8)\ns = socket.socket()\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "if libc.connect(s.fileno(), a, 16): raise OSError(ctypes.get_errno(), 'connect')",
    "a program that is not Python": "subprocess.run(['bash', '-c', 'exec 3<>/dev/tcp/192.0.2.1/9'], check=True)",
    "a Python without our environment": "subprocess.run([sys.executable, '-c', CHILD], env={}, check=True)",
    "a Python with it, that does not call us": "subprocess.run([sys.executable, '-c', CHILD], check=True)",
    "os.system": "if os.system('exec 2>/dev/null; bash -c \"exec 3<>/dev/tcp/192.0.2.1/9\"'):\n"
    "    raise OSError('unreachable')",
    "posix_spawn": "pid = os.posix_spawn(sys.executable, [sys.executable, '-c', CHILD], {})\n"
    "if os.waitpid(pid, 0)[1]: raise OSError('unreachable')",
    "a fresh interpreter within": "import _xxsubinterpreters as x\nx.run_string(x.create(), CHILD)",
    "a name given to _socket": "_socket.socket().connect((NAME, 9))",
    "the guard's own switch": "connections._state.open = 1\ntry:\n    socket.create_connection(BEYOND, 1)\n"
    "finally:\n    connections._state.open = 0",
}  # fmt: skip

PASSES = {
    "loopback": "with socket.create_server(('127.0.0.1', 0)) as server:\n"
    "    socket.create_connection(server.getsockname()).close()",
    "any address of this machine, to listen": "socket.create_server(('', 0)).close()",
    "IPv6's loopback": "socket.socket(socket.AF_INET6).bind(('::1', 0))",
    "localhost": "socket.getaddrinfo('localhost', 9)",
    "a pair": "left, right = socket.socketpair()\nleft.send(b'x')",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).bind((0, 0))",
    "asyncio's own pipe": "asyncio.run(asyncio.sleep(0))",
}  # fmt: skip

CHILD = "import socket; socket.socket().connect(('192.0.2.1', 9))"

PROBE = """
    import asyncio, ctypes, _socket, json, os, socket, subprocess, sys, warnings
    from distill_offline.offline import connections as offline
    from distill_offline.errors import NetworkBlocked
    from distill_offline.offline import connections
    from distill_offline.offline import isolation
    if not isolation.is_loopback_only():
        isolation.enter()
    offline.enforce()
    warnings.simplefilter("ignore")
    sys.stderr = open(os.devnull, "w")
    os.dup2(sys.stderr.fileno(), 2)
    BEYOND, NAME = ("192.0.2.1", 9), "secret.example.invalid"
    GUARDED, OTHERS, CHILD = json.loads(sys.argv[1])

    def outcome(code):
        try:
            exec(code, globals() | {"__name__": "attempt"})
        except NetworkBlocked:
            return "guard"
        except (OSError, subprocess.CalledProcessError, RuntimeError) as error:
            return "kernel" if "NetworkBlocked" not in repr(error) else "guard"
        except Exception as error:
            return repr(error)
        return "passed"

    print(json.dumps({name: outcome(code) for name, code in {**GUARDED, **OTHERS}.items()}))
"""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    given = json.dumps([GUARDED, {**ONLY_ISOLATED, **PASSES}, CHILD])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROBE), given],
        env=inherited | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.attack("ways around the guard", len(GUARDED))
def test_what_the_guard_holds(outcomes: dict[str, str]) -> None:
    assert {name: outcomes[name] for name in GUARDED} == dict.fromkeys(GUARDED, "guard")


@pytest.mark.attack("ways around the guard, in a namespace", len(ONLY_ISOLATED))
def test_what_only_the_kernel_holds(outcomes: dict[str, str]) -> None:
    assert {name: outcomes[name] for name in ONLY_ISOLATED} == dict.fromkeys(ONLY_ISOLATED, "kernel")


def test_what_stays_on_this_machine_passes(outcomes: dict[str, str]) -> None:
    assert {name: outcomes[name] for name in PASSES} == dict.fromkeys(PASSES, "passed")


def test_a_connection_from_before_passes_the_guard_and_is_refused_by_isolation() -> None:
    """The other end is a server in the same empty namespace: nothing leaves."""
    code = """
        import os, socket, sys
        from distill_offline.offline import isolation
        if not isolation.is_loopback_only():
            isolation.enter()
        with socket.create_server(("127.0.0.1", 0)) as server:
            opened = socket.create_connection(server.getsockname())
            other, _ = server.accept()
        from distill_offline import offline
        offline.enforce()
        opened.sendall(b"x")
        print(other.recv(1).decode(), flush=True)
        try:
            isolation.restart_isolated()
        except Exception as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout.splitlines()
    assert said[0] == "x", done.stderr
    assert "is a network socket opened before" in said[1]
