"""The decoys: each is caught by the tracer, and none is tried where it could leave."""

from __future__ import annotations

import json
import sys

import pytest

from distill_offline.offline import isolation
from distill_offline.offline.decoys import DECOYS
from distill_offline.offline.strace import strace_fault, trace

FAULT = strace_fault() or isolation.probe().fault
pytestmark = pytest.mark.skipif(bool(FAULT), reason=f"they cannot be tried and traced here: {FAULT}")
COMMAND = [sys.executable, "-m", "distill_offline.offline.decoys"]


def test_the_tracer_catches_every_way_out() -> None:
    done = trace(COMMAND, timeout_s=100)
    assert done.status == 0, done.output
    said = json.loads(done.output)
    tried = {name for name, result in said.items() if result == "tried"}
    assert set(DECOYS) - tried <= {"a Rust client"}, said
    caught = {touch.address for touch in done.trace.at("beyond")}
    assert caught == {DECOYS[name] for name in tried}
    assert done.trace.unread == []
    assert {touch.result for touch in done.trace.at("beyond")} <= {"ENETUNREACH", "EADDRNOTAVAIL", "done"}


def test_a_rust_client_is_caught_where_it_is_installed() -> None:
    pytest.importorskip("hf_xet")
    done = trace(COMMAND, timeout_s=100)
    [process] = {touch.process for touch in done.trace.at("beyond") if touch.address == DECOYS["a Rust client"]}
    assert process.startswith("hf-xet")


@pytest.mark.skipif(isolation.is_loopback_only(), reason="there is no network to be isolated from")
def test_where_no_namespace_can_be_made_nothing_is_tried() -> None:
    forbid = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    done = trace(["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", *COMMAND], timeout_s=100)
    assert done.status == 1
    assert "no network namespace can be made" in done.output
    assert done.trace.at("beyond") == []
