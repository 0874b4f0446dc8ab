"""isolation: a namespace with loopback only, entered and checked in child processes; the kernel does the refusing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from distill_offline import manifest
from distill_offline.offline import isolation
from distill_offline.offline.isolation import NetworkState

FAULT = isolation.probe().fault
needs_namespace = pytest.mark.skipif(bool(FAULT), reason=f"no network namespace here: {FAULT}")
CLI = (sys.executable, "-m", "distill_offline")


def run(
    *command: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def python(code: str, *arguments: str, cwd: Path | None = None) -> str:
    done = run(sys.executable, "-c", textwrap.dedent(code), *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def refused(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command where the kernel permits no further network namespace, as it does where a site forbids them."""
    forbid = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    return run("unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", *command, environment=environment)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (NetworkState("net:[1]", True, (), (), 0), True),
        (NetworkState("net:[1]", True, (), ("tunl0", "sit0"), 0), True),
        (NetworkState("net:[1]", False, (), (), 0), False),
        (NetworkState("net:[1]", True, ("eth0",), (), 0), False),
        (NetworkState("net:[1]", True, (), (), 1), False),
    ],
)
def test_loopback_only_means_up_with_no_other_interface_and_no_route(state: NetworkState, expected: bool) -> None:
    assert state.is_loopback_only is expected


def test_the_state_is_the_kernels() -> None:
    now = isolation.state()
    names = {name for _, name in socket.if_nameindex()}
    assert {*now.up, *now.down} == names - {"lo"}
    assert now.namespace == str(Path("/proc/self/ns/net").readlink())


@needs_namespace
def test_inside_there_is_loopback_and_nothing_else_for_children_too() -> None:
    code = """
        import errno, json, socket, subprocess, sys
        from distill_offline.offline import isolation
        outside = isolation.state().namespace
        isolation.enter()
        child = '''
        import errno, json, socket
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
        said = []
        for family, kind, address in (
            (socket.AF_INET, socket.SOCK_STREAM, "192.0.2.1"),
            (socket.AF_INET, socket.SOCK_DGRAM, "192.0.2.1"),
            (socket.AF_INET6, socket.SOCK_STREAM, "2001:db8::1"),
        ):
            with socket.socket(family, kind) as probe:
                said.append(errno.errorcode[probe.connect_ex((address, 9))])
        print(json.dumps([said, [name for _, name in socket.if_nameindex()]]))
        '''
        import textwrap
        said = subprocess.check_output([sys.executable, "-c", textwrap.dedent(child)], text=True)
        now = isolation.state()
        print(json.dumps([json.loads(said), now.is_loopback_only, now.namespace != outside]))
    """
    [[said, names], isolated, other] = json.loads(python(code))
    assert set(said) <= {"ENETUNREACH", "EADDRNOTAVAIL"}
    assert "lo" in names
    assert isolated
    assert other or isolation.is_loopback_only()


@needs_namespace
def test_users_groups_and_the_owners_of_files_stay(tmp_path: Path) -> None:
    code = """
        import os, sys
        from distill_offline.offline import isolation
        isolation.enter()
        open(sys.argv[1], "w").close()
        print(os.getuid(), os.getgid())
    """
    assert python(code, str(tmp_path / "made")) == f"{os.getuid()} {os.getgid()}"
    made = (tmp_path / "made").stat()
    assert (made.st_uid, made.st_gid) == (os.getuid(), os.getgid())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_privilege_a_user_namespace_is_made_and_no_capability_remains() -> None:
    code = """
        import ctypes, os, sys
        from distill_offline.offline import isolation
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, as after a login: /proc/self is the new user's own
        try:
            isolation.enter()
        except Exception as error:
            sys.exit(str(error))
        os.execv("/bin/sh", ["sh", "-c", "id -u; grep CapEff /proc/self/status"])
    """
    done = run(sys.executable, "-c", textwrap.dedent(code))
    if "no network namespace can be made" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout.split() == ["65534", "CapEff:", "0" * 16]


@needs_namespace
def test_the_same_command_starts_again_inside_with_its_arguments(tmp_path: Path) -> None:
    code = """
        import os, sys
        from distill_offline.offline import isolation
        print("started", flush=True)
        isolation.restart_isolated()
        print(os.getpid(), isolation.is_loopback_only(), sys.argv[1:], os.getcwd())
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), "one two", "--isolate"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    said, _ = child.communicate(timeout=60)
    [*started, last] = said.splitlines()
    assert started == ["started"] * (1 if isolation.is_loopback_only() else 2)
    assert last == f"{child.pid} True {['one two', '--isolate']} {tmp_path.resolve()}"


@needs_namespace
@pytest.mark.skipif(isolation.is_loopback_only(), reason="there is no network to be isolated from")
def test_where_it_is_not_permitted_nothing_runs_and_the_setting_is_named() -> None:
    done = refused(*CLI, "--isolate", "models", "list", DISTILL_ISOLATED="1", DISTILL_OFFLINE_ISOLATED="1")
    assert (done.returncode, done.stdout) == (4, "")
    assert "user.max_net_namespaces=0 forbids it: sysctl user.max_net_namespaces=10000" in " ".join(done.stderr.split())
    assert refused(*CLI, "models", "list").returncode == 0


@needs_namespace
@pytest.mark.skipif(isolation.is_loopback_only(), reason="there is no network to be isolated from")
def test_a_probe_that_is_refused_says_why_and_tries_nothing() -> None:
    code = (
        "from distill_offline.offline.isolation import probe; found = probe(); "
        "print(found.inside, found.attempts, found.fault)"
    )
    said = refused(sys.executable, "-c", code).stdout
    assert said.startswith("None {} no network namespace can be made")


@needs_namespace
def test_a_probe_finds_no_way_out() -> None:
    found = isolation.probe()
    assert found.fault == ""
    assert found.inside is not None
    assert found.inside.is_loopback_only
    assert list(found.attempts) == list(isolation.DOCUMENTATION)
    assert set(found.attempts.values()) <= {"ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"}


@pytest.mark.skipif(isolation.is_loopback_only(), reason="there is no network to be isolated from")
def test_an_open_network_socket_is_refused_as_a_way_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened, socket.socket(socket.AF_UNIX) as local:
        command = [*CLI, "--isolate", "models", "list"]
        passed = (opened.fileno(), local.fileno())
        done = subprocess.run(command, pass_fds=passed, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert f"descriptor {passed[0]} is a network socket opened before" in done.stderr


@needs_namespace
def test_an_open_network_socket_is_refused_where_there_is_loopback_only_already() -> None:
    """It may come from outside: the program that made the namespace can have opened it before."""
    code = """
        import os, socket, sys
        from distill_offline.offline import isolation
        opened = socket.socket()
        os.set_inheritable(opened.fileno(), True)
        isolation._refuse_open_connections = lambda: None
        isolation.enter()
        os.execv(sys.executable, [sys.executable, "-m", "distill_offline", "--isolate", "models", "list"])
    """
    done = run(sys.executable, "-c", textwrap.dedent(code))
    assert (done.returncode, done.stdout) == (4, "")
    assert "is a network socket opened before" in done.stderr


@needs_namespace
def test_a_probe_runs_nothing_of_the_folder_it_is_started_in(tmp_path: Path) -> None:
    for name in ("json.py", "socket.py"):
        (tmp_path / name).write_text("raise SystemExit('this is no part of the program')")
    code = "from distill_offline.offline.isolation import probe; print(probe().fault == '')"
    done = run(sys.executable, "-P", "-c", code, cwd=tmp_path)
    assert done.stdout == "True\n", done.stderr


@needs_namespace
def test_a_manifest_says_where_its_folder_was_made(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from distill_offline import manifest, offline
        from distill_offline.offline import isolation
        offline.enforce()
        if sys.argv[2] == "isolated":
            isolation.restart_isolated()
        manifest.seal(Path(sys.argv[1]), stage="annotate", config={}, seeds={}, inputs=[], models={})
    """
    for kind in ("isolated", "plain"):
        (tmp_path / kind).mkdir()
        python(code, str(tmp_path / kind), kind)
    recorded = [
        manifest.read(tmp_path / kind)["predicate"]["buildDefinition"]["internalParameters"]["network"]
        for kind in ("isolated", "plain")
    ]
    outside = "loopback only" if isolation.is_loopback_only() else "not isolated"
    assert [each["namespace"] for each in recorded] == ["loopback only", outside]
    assert recorded[0] == {"namespace": "loopback only", "connections_stopped": True, "hosts_admitted": 0}


@needs_namespace
@pytest.mark.slow
def test_a_server_elsewhere_is_refused_before_anything_starts(tmp_path: Path) -> None:
    value = {
        "name": "served",
        "task": {"types": {"PERSON": "a named human"}},
        "corpus": {"unlabelled": {"path": "package:demo/train.jsonl", "limit": 2}},
        "backend": {"name": "openai_server", "model": "m", "options": {"base_url": "http://192.0.2.5:8000/v1"}},
        "annotate": {"demonstrations": {"strategy": "none"}, "gold": []},
        "train": {"encoder": "nowhere", "arms": [{"name": "original_only"}]},
    }
    (tmp_path / "served.yaml").write_text(yaml.safe_dump(value))
    done = run(*CLI, "--isolate", "annotate", "served.yaml", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "192.0.2.5 cannot be reached: this process has no network but loopback (--isolate" in done.stderr
