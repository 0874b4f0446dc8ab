"""offline: what is stopped, what passes, what children inherit; in child processes, since an audit hook is for life."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from distill_offline import offline
from distill_offline.offline import isolation

ROOT = Path(__file__).parent.parent


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    for name in [*offline.ENVIRONMENT, offline.ALLOW_VARIABLE]:
        inherited.pop(name, None)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=inherited | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def outcome(code: str, **environment: str) -> str:
    """What the code prints; a failure shows its traceback."""
    ran = run_python(code, **environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


BLOCKED = """
    import socket
    from distill_offline import offline
    from distill_offline.errors import NetworkBlocked
    offline.enforce()
    try:
        {attempt}
    except NetworkBlocked as error:
        print(error)
    else:
        print("it passed")
"""


@pytest.mark.parametrize(
    ("attempt", "host"),
    [
        ("socket.create_connection(('192.0.2.1', 80), timeout=1)", "192.0.2.1"),
        ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 53))", "192.0.2.1"),
        ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))", "192.0.2.1"),
        ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('192.0.2.1', 53))", "192.0.2.1"),
        ("socket.socket(socket.AF_INET6).connect_ex(('2001:db8::1', 80))", "2001:db8::1"),
        ("socket.getaddrinfo('example.invalid', 80)", "example.invalid"),
        ("socket.gethostbyname('example.invalid')", "example.invalid"),
        ("socket.getnameinfo(('192.0.2.1', 80), 0)", "192.0.2.1"),
        ("socket.socket().connect(('example.invalid', 80))", "example.invalid"),
        ("socket.getaddrinfo('localhost.example.invalid', 80)", "localhost.example.invalid"),
        ("__import__('urllib.request').request.urlopen('http://example.invalid/', timeout=1)", "example.invalid"),
    ],
)
def test_a_host_outside_the_list_is_stopped_and_the_error_names_it(attempt: str, host: str) -> None:
    said = outcome(BLOCKED.format(attempt=attempt))
    assert repr(host) in said
    assert "backend.options.base_url" in said
    assert "models fetch" in said


def test_loopback_unix_sockets_and_listening_pass() -> None:
    code = """
        import asyncio, socket
        from distill_offline import offline
        offline.enforce(); offline.enforce()
        for address in ("127.0.0.1", "localhost"):
            with socket.create_server(("127.0.0.1", 0)) as server:
                with socket.create_connection((address, server.getsockname()[1]), timeout=5) as client:
                    accepted, _ = server.accept()
                    client.sendall(b"hello")
                    print(accepted.recv(5).decode())
                    accepted.close()
        left, right = socket.socketpair()
        left.sendall(b"unix"); print(right.recv(4).decode())
        socket.getaddrinfo("198.51.100.7", 80)  # numbers need no lookup
        asyncio.run(asyncio.sleep(0))
    """
    assert outcome(code).split() == ["hello", "hello", "unix"]


def test_allowed_hosts_pass_and_their_neighbours_do_not() -> None:
    code = """
        from distill_offline.offline import connections as offline
        from distill_offline.errors import NetworkBlocked
        offline.enforce(["10.1.0.0/16", "https://llm.example.invalid:8000/v1"])
        offline.allow("192.0.2.7:8000")
        for host in ("10.1.2.3", "::ffff:10.1.2.3", "LLM.example.invalid.", "192.0.2.7", "10.2.0.1", "example.invalid"):
            try:
                offline._check_host(host, "connecting to")
                print("yes", end=" ")
            except NetworkBlocked:
                print("no", end=" ")
    """
    assert outcome(code).split() == ["yes", "yes", "yes", "yes", "no", "no"]


def test_address_of_an_allowed_name_may_be_connected_to() -> None:
    code = """
        import ipaddress, socket
        from distill_offline.offline import connections as offline
        offline._state.networks.discard(ipaddress.ip_network("127.0.0.0/8"))
        offline.enforce(["localhost.localdomain"])
        real = socket.getaddrinfo
        socket.getaddrinfo = lambda name, port: real("127.0.0.1", 0) if name == "localhost.localdomain" else 1 / 0
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.socket()
            client.connect(server.getsockname())
            client.close()
        print("connected")
    """
    assert outcome(code) == "connected"


@pytest.mark.parametrize("entry", ["not a host", "", "http://"])
def test_an_entry_that_is_no_host_is_a_config_error(entry: str) -> None:
    said = run_python(f"from distill_offline import offline; offline.enforce([{entry!r}])")
    assert "ConfigError: offline allow-list" in said.stderr


def test_children_inherit_environment_and_list() -> None:
    code = """
        import subprocess, sys
        from distill_offline.offline import connections as offline
        offline.enforce(["10.0.0.0/8"])
        child = '''
        import os, socket
        from distill_offline.offline import connections as offline
        print(offline.enforce_from_environment(), os.environ["HF_HUB_OFFLINE"], "https_proxy" in os.environ)
        offline._check_host("10.9.8.7", "connecting to")
        try:
            socket.create_connection(("192.0.2.1", 80))
        except Exception as error:
            print(type(error).__name__)
        '''
        import textwrap
        print(subprocess.run([sys.executable, "-c", textwrap.dedent(child)], capture_output=True, text=True).stdout)
    """
    assert outcome(code, https_proxy="http://192.0.2.9:3128").split() == ["True", "1", "False", "NetworkBlocked"]


def test_without_a_parents_promise_a_child_is_left_alone() -> None:
    assert outcome("from distill_offline import offline; print(offline.enforce_from_environment())") == "False"


def test_permit_all_gives_back_proxies_and_switches_and_then_closes_again() -> None:
    code = """
        import os, socket
        from distill_offline import offline
        from distill_offline.errors import NetworkBlocked
        names = ("https_proxy", "HF_HUB_OFFLINE", "DISTILL_OFFLINE_ALLOW", "DO_NOT_TRACK")
        look = lambda: print([os.environ.get(name) for name in names], offline.is_enforced())
        offline.enforce()
        look()
        with offline.permit_all():
            look()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect_ex(("192.0.2.1", 53))  # UDP: sends nothing
        look()
        try:
            socket.create_connection(("192.0.2.1", 80))
        except NetworkBlocked:
            print("closed")
    """
    assert outcome(code, https_proxy="http://192.0.2.9:3128").splitlines() == [
        "[None, '1', '', '1'] True",
        "['http://192.0.2.9:3128', None, None, '1'] False",
        "[None, '1', '', '1'] True",
        "closed",
    ]


def test_hosts_beyond_this_machine_are_told_and_loopback_is_none() -> None:
    code = """
        from distill_offline import offline
        offline.enforce(["127.0.0.1:8000", "http://localhost:8000", "http://[::1]:9"])
        offline.enforce(["10.1.0.0/16", "llm.example.invalid"])
        offline.allow("http://192.0.2.7:8000/v1")
        print(*offline.hosts())
    """
    assert outcome(code).split() == ["10.1.0.0/16", "llm.example.invalid", "192.0.2.7"]


def test_the_hook_can_be_asked_without_connecting() -> None:
    code = """
        from distill_offline import offline
        ask = lambda: print(*(offline.stops(address) for address in ("192.0.2.1", "2001:db8::1", "127.0.0.1")))
        ask()
        offline.enforce()
        ask()
        offline.allow("192.0.2.1")
        ask()
        print(*offline.proxies())
    """
    assert outcome(code, https_proxy="http://192.0.2.9", ALL_PROXY="http://192.0.2.9").splitlines() == [
        "False False False",
        "True True False",
        "False True False",
        "ALL_PROXY https_proxy",
    ]


def test_the_command_line_admits_what_the_variable_lists() -> None:
    code = """
        import sys
        from distill_offline import offline
        from distill_offline.cli import main
        sys.argv = ["distill-offline", "--version"]
        try:
            main()
        except SystemExit as ended:
            print(ended.code, *offline.hosts())
    """
    assert outcome(code, DISTILL_OFFLINE_ALLOW="192.0.2.7, llm.example.invalid").splitlines()[-1] == (
        "0 192.0.2.7 llm.example.invalid"
    )
    assert outcome(code).splitlines()[-1] == "0"
    wrong = run_python(code, DISTILL_OFFLINE_ALLOW="not a host")
    assert "error: offline allow-list: 'not a host' is not a host." in wrong.stderr


def test_where_there_is_only_loopback_no_other_host_can_be_admitted() -> None:
    if fault := isolation.probe().fault:
        pytest.skip(f"no network namespace here: {fault}")
    code = """
        from distill_offline import offline
        from distill_offline.offline import isolation
        from distill_offline.errors import ConfigError
        offline.enforce(["192.0.2.7"])
        isolation.restart_isolated()
        offline.allow("http://127.0.0.1:8000/v1", "localhost")
        for host in ("http://192.0.2.5:8000/v1", "192.0.2.7", "10.0.0.0/8"):
            try:
                offline.allow(host)
            except ConfigError as error:
                print(error)
        print(*offline.hosts())
    """
    *refusals, admitted = outcome(code).splitlines()
    assert [line.split()[0] for line in refusals] == ["192.0.2.5", "192.0.2.7", "10.0.0.0/8"]
    assert all("cannot be reached: this process has no network but loopback (--isolate" in line for line in refusals)
    assert admitted == "192.0.2.7"
