"""The three layers: what is said of each, for machines that permit more and less than this one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from distill_offline import offline
from distill_offline.offline import isolation
from distill_offline.offline import layers as network_layers
from distill_offline.offline.decoys import DECOYS
from distill_offline.offline.isolation import NetworkState, Probe
from distill_offline.offline.layers import Layer, examine_environment, examine_kernel, judge_decoys
from distill_offline.offline.strace import strace_fault
from distill_offline.offline.trace import Trace, read_trace

ALONE = NetworkState("net:[2]", True, (), (), 0)
NO_WAY = dict.fromkeys(isolation.DOCUMENTATION, "ENETUNREACH")


@pytest.fixture
def enforced(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if enforce() had been called; the real hook would stay for the whole test process."""
    monkeypatch.setattr(offline, "is_enforced", lambda: True)
    monkeypatch.setattr(offline, "stops", lambda address: True)


@pytest.mark.usefixtures("enforced")
def test_the_environment_holds_with_every_switch_listed() -> None:
    layer = examine_environment(offline.ENVIRONMENT)
    assert layer.verdict == "holds"
    for name, value in offline.ENVIRONMENT.items():
        assert f"{name}={value}" in layer.proven[0]
    assert any("native code" in line for line in layer.not_proven)


@pytest.mark.usefixtures("enforced")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"HF_HUB_OFFLINE": "0"}, "switches not set: HF_HUB_OFFLINE"),
        ({"https_proxy": "http://192.0.2.9"}, "proxies are set: https_proxy"),
        ({"ALL_PROXY": "socks5://192.0.2.9"}, "proxies are set: ALL_PROXY"),
    ],
)
def test_a_switch_or_a_proxy_violates_the_environment_and_no_value_is_shown(change: dict[str, str], said: str) -> None:
    layer = examine_environment({**offline.ENVIRONMENT, **change})
    assert layer.verdict == "violated"
    assert said in layer.not_proven
    assert "192.0.2.9" not in json.dumps(layer.facts)


def test_connections_that_are_not_stopped_violate_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "is_enforced", lambda: False)
    assert examine_environment(offline.ENVIRONMENT).not_proven == ["connections from Python are not stopped"]
    monkeypatch.setattr(offline, "is_enforced", lambda: True)
    monkeypatch.setattr(offline, "stops", lambda address: address != "2001:db8::1")
    layer = examine_environment(offline.ENVIRONMENT)
    assert layer.verdict == "violated"
    assert "a connection from Python beyond this machine was not stopped" in layer.not_proven


@pytest.mark.usefixtures("enforced")
def test_admitted_hosts_are_told_and_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline, "hosts", lambda: ("llm.example.invalid",))
    monkeypatch.setattr(offline, "stops", lambda address: pytest.fail("that would look up the name"))
    layer = examine_environment(offline.ENVIRONMENT)
    assert layer.verdict == "holds"
    assert any("llm.example.invalid" in line for line in layer.proven)


def kernel(monkeypatch: pytest.MonkeyPatch, now: NetworkState, probe: Probe) -> Layer:
    monkeypatch.setattr(isolation, "state", lambda: now)
    return examine_kernel(probe)


def test_the_kernel_holds_inside_a_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = kernel(monkeypatch, ALONE, Probe("", ALONE, NO_WAY))
    assert (layer.verdict, layer.remedy) == ("holds", "")
    assert "192.0.2.1: ENETUNREACH" in layer.proven[1]
    assert "AF_VSOCK" in layer.not_proven[0]


OUTSIDE = NetworkState("net:[1]", True, ("eth0",), ("tunl0",), 3)


def test_the_kernel_is_ready_outside_where_a_child_can_be_put_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = kernel(monkeypatch, OUTSIDE, Probe("", ALONE, NO_WAY))
    assert layer.verdict == "ready"
    assert "--isolate" in layer.remedy
    assert "1 other interfaces are up and 3 routes" in layer.not_proven[0]


def test_where_namespaces_are_forbidden_the_kernel_proves_nothing_and_the_reason_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isolation, "obstacles", lambda: {"user.max_user_namespaces=0": "sysctl it"})
    layer = kernel(monkeypatch, OUTSIDE, Probe("no network namespace can be made: because", None, {}))
    assert (layer.verdict, layer.remedy) == ("not proven", "sysctl it")
    assert layer.not_proven[0] == "no network namespace can be made: because"


@pytest.mark.parametrize("said", ["connected", "timed out", "ECONNREFUSED", "EHOSTUNREACH"])
def test_a_namespace_that_leaks_is_a_violation(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    leaking = Probe("", ALONE, NO_WAY | {"192.0.2.1": said})
    for now in (ALONE, OUTSIDE):
        assert kernel(monkeypatch, now, leaking).verdict == "violated"
    assert kernel(monkeypatch, OUTSIDE, Probe("", OUTSIDE, {})).verdict == "violated"


def caught(*names: str, extra: str = "") -> Trace:
    lines = [
        f'7 connect(3, {{sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("{DECOYS[name]}")}}, 16) = 0'
        for name in names
        if ":" not in DECOYS[name]
    ]
    return read_trace([*lines, "7 +++ exited with 0 +++", *([extra] if extra else [])])


def judged(said: object, found: Trace, status: int = 0) -> Layer:
    layer = Layer("evidence", "not proven")
    judge_decoys(layer, status, said if isinstance(said, str) else json.dumps(said), found)
    return layer


def test_the_tracer_is_believed_once_it_has_caught_what_was_tried() -> None:
    layer = judged({"Python": "tried", "a Rust client": "hf_xet is not installed"}, caught("Python"))
    assert layer.verdict == "holds"
    assert layer.not_proven == ["a Rust client: hf_xet is not installed"]


def test_a_tracer_that_misses_one_is_a_violation() -> None:
    layer = judged({"Python": "tried", "native code": "tried"}, caught("Python"))
    assert layer.verdict == "violated"
    assert "it missed native code" in layer.not_proven[0]
    assert judged({"Python": "tried"}, caught("Python", extra="garbage")).verdict == "violated"


def test_without_a_namespace_the_tracer_is_not_tried_and_nothing_is_claimed() -> None:
    layer = judged("no network namespace can be made", Trace(), status=1)
    assert layer.verdict == "not proven"
    assert "no network namespace can be made" in layer.not_proven[0]


def test_without_strace_the_reason_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    layer = network_layers._examine_evidence()
    assert (layer.verdict, layer.not_proven) == ("not proven", ["what is sent: strace is not installed"])


@pytest.mark.skipif(strace_fault() is not None, reason=f"nothing can be traced here: {strace_fault()}")
@pytest.mark.skipif(bool(isolation.probe().fault), reason=f"no network namespace here: {isolation.probe().fault}")
def test_a_command_that_reaches_beyond_is_reported_and_fails(tmp_path: Path) -> None:
    reaching = "import socket; socket.socket().connect_ex(('192.0.2.77', 9)); print('done'); raise SystemExit(3)"
    command = [sys.executable, "-m", "distill_offline", "--isolate", "doctor", "--network"]

    def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
        words = [*command, *options, "--", sys.executable, "-I", "-c", code]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)

    done = run(reaching, "--json", "--keep", "raw")
    report = json.loads(done.stdout)
    assert (done.returncode, report["status"], report["isolated"], report["clean"]) == (4, 3, True, False)
    [touch] = report["touches"]
    assert (touch["address"], touch["port"], touch["result"]) == ("192.0.2.77", 9, "ENETUNREACH")
    assert "done" in done.stderr
    assert "reached for 1 addresses beyond this machine" in done.stderr
    assert "192.0.2.77" in (tmp_path / "raw").read_text()
    plain = run("raise SystemExit(3)")
    assert plain.returncode == 3
    assert "it ran with no network but loopback" in plain.stdout
